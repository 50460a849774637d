#!/usr/bin/env bash
# MedM-PLM from invented patients to a saved model that transformers opens again.
#
#   scripts/demo.sh [CONFIGS] [PATIENTS] [OUTPUT]
#
# CONFIGS is a folder of configs/ (demo, or smoke for the smallest size); OUTPUT is replaced. PYTHON names the
# interpreter. With MIMIC-III, the first step is instead
#   python run_preparation.py --source mimic3 --input MIMIC_FOLDER --output OUTPUT/prepared
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-python}
configs=configs/${1:-demo}
patients=${2:-1500}
output=${3:-demo-output}

step() { printf '\n== %s\n' "$*"; }

if [ -e "$output" ] && [ -n "$(ls -A "$output")" ] && [ ! -e "$output/prepared/report.json" ]; then
    echo "error: $output is not empty and no earlier demo; name another folder" >&2
    exit 1
fi
rm -rf "$output"

step "prepare $patients invented patients"
"$python" run_preparation.py --source synthetic --num_patients "$patients" --output "$output/prepared"

step "pre-train"
"$python" run_pretraining.py --config "$configs/pretraining.yaml" \
    --data "$output/prepared" --output_dir "$output/pretrained"

for task in medication_recommendation readmission icd_coding; do
    step "fine-tune: $task"
    "$python" run_finetuning.py --config "$configs/$task.yaml" \
        --data "$output/prepared" --model "$output/pretrained" --output_dir "$output/$task"
done

step "open the saved models with transformers, and compare with the label frequency"
"$python" scripts/demo_summary.py "$output"
