"""Which condition is treated with what: the therapeutic decisions of the invented cohort.

A decision has several options; traits that only the note tells (traits.py) shift the weights between them,
and an option given at an earlier visit is usually continued.
"""

from medm_plm.data.synthetic.clinical_types import Treatment

# condition ("*": any inpatient) | chance if mild | chance if severe ("-": the same) | drug:weight ...
_DECISIONS = """
* | 0.72 | - | acetaminophen:1
* | 0.62 | - | docusate:6 senna:4
* | 0.68 | - | heparin:1
* | 0.55 | - | saline:1
* | 0.18 | - | potassium:1
* | 0.15 | - | magnesium:1
* | 0.18 | - | ondansetron:7 metoclopramide:3
* | 0.16 | - | pantoprazole_iv:5 famotidine:5
* | 0.10 | - | lorazepam:5 zolpidem:3 trazodone:3
* | 0.08 | - | oxycodone:5 morphine:4 ketorolac:3
* | 0.06 | - | multivitamin:1
* | 0.05 | - | diphenhydramine:1
* | 0.05 | - | guaifenesin:1
alcohol | 0.80 | - | thiamine:1
alcohol | 0.65 | - | folate:7 multivitamin:3
tobacco | 0.45 | - | nicotine:1
hypertension | 0.62 | 0.85 | lisinopril:7 losartan:2
hypertension | 0.35 | 0.75 | amlodipine:5 hydrochlorothiazide:5
hypertension | 0.04 | 0.65 | hydralazine:5 clonidine:5
hyperlipidemia | 0.85 | - | atorvastatin:1
diabetes | 0.85 | 0.30 | metformin:6 glipizide:3
diabetes | 0.12 | 0.92 | insulin_glargine:6 insulin_regular:4
coronary_disease | 0.88 | - | aspirin:7 clopidogrel:3
coronary_disease | 0.78 | - | metoprolol:7 diltiazem:2
coronary_disease | 0.60 | - | atorvastatin:1
coronary_disease | 0.25 | - | nitroglycerin:5 isosorbide:5
heart_failure | 0.88 | 0.95 | furosemide:7 furosemide_iv:3
heart_failure | 0.55 | 0.80 | carvedilol:5 metoprolol:5
heart_failure | 0.50 | 0.75 | lisinopril:7 losartan:2 hydralazine:1
heart_failure | 0.04 | 0.70 | spironolactone:1
heart_failure | 0.02 | 0.35 | digoxin:1
atrial_fibrillation | 0.75 | - | warfarin:7 aspirin:3
atrial_fibrillation | 0.80 | - | metoprolol:6 diltiazem:4 digoxin:1.5
atrial_fibrillation | 0.22 | - | amiodarone:1
atrial_flutter | 0.70 | - | diltiazem:6 metoprolol:3
pulmonary_hypertension | 0.40 | - | furosemide:1
vascular_disease | 0.75 | - | aspirin:5 clopidogrel:5
copd | 0.90 | 0.95 | albuterol:6 salmeterol:4
copd | 0.75 | 0.90 | ipratropium:1
copd | 0.12 | 0.75 | prednisone:6 methylprednisolone:4
copd | 0.05 | 0.45 | azithromycin:5 doxycycline:4
asthma | 0.90 | 0.95 | albuterol:6 salmeterol:4
asthma | 0.40 | 0.45 | montelukast:1
asthma | 0.10 | 0.80 | prednisone:1
lung_fibrosis | 0.65 | - | prednisone:1
kidney_disease | 0.12 | 0.55 | calcium_antacid:6 sevelamer:4
kidney_disease | 0.08 | 0.50 | epoetin:1
dialysis | 0.85 | - | sevelamer:1
dialysis | 0.65 | - | epoetin:1
kidney_transplant | 0.92 | - | tacrolimus:5 mycophenolate:5
kidney_transplant | 0.60 | - | prednisone:1
kidney_transplant | 0.55 | - | trimethoprim:1
anemia | 0.35 | - | iron:6 cyanocobalamin:4
iron_deficiency | 0.90 | - | iron:1
hypothyroidism | 0.93 | - | levothyroxine:1
hyperthyroidism | 0.88 | - | methimazole:1
depression | 0.82 | 0.92 | sertraline:6 mirtazapine:3 trazodone:2
depression | 0.03 | 0.55 | quetiapine:1
anxiety | 0.60 | - | lorazepam:6 sertraline:3
schizophrenia | 0.92 | - | quetiapine:5 haloperidol:5
bipolar | 0.85 | - | lithium:4 valproate:5
insomnia | 0.75 | - | zolpidem:6 trazodone:4
opioid_dependence | 0.75 | - | methadone:1
dementia | 0.75 | - | donepezil:1
parkinson | 0.92 | - | levodopa:1
epilepsy | 0.92 | - | levetiracetam:6 valproate:4
old_stroke | 0.70 | - | aspirin:5 clopidogrel:5
multiple_sclerosis | 0.65 | - | interferon:1
multiple_sclerosis | 0.60 | - | baclofen:1
cirrhosis | 0.50 | 0.92 | lactulose:1
cirrhosis | 0.05 | 0.70 | rifaximin:1
cirrhosis | 0.40 | 0.70 | spironolactone:1
cirrhosis | 0.08 | 0.45 | albumin:1
hepatitis_c | 0.20 | - | ursodiol:1
reflux | 0.88 | - | omeprazole:7 famotidine:3
colitis | 0.80 | - | mesalamine:1
colitis | 0.35 | - | prednisone:1
colitis | 0.30 | - | loperamide:1
prostate_enlargement | 0.88 | - | tamsulosin:1
overactive_bladder | 0.85 | - | oxybutynin:1
gout | 0.88 | - | allopurinol:6 colchicine:4
osteoporosis | 0.60 | - | alendronate:1
osteoporosis | 0.65 | - | vitamin_d:1
osteoporosis | 0.50 | - | calcium_antacid:1
osteoarthritis | 0.55 | - | ibuprofen:5 acetaminophen:4 lidocaine:2
rheumatoid_arthritis | 0.75 | - | methotrexate:1
rheumatoid_arthritis | 0.45 | - | prednisone:1
lupus | 0.60 | - | mycophenolate:1
lupus | 0.60 | - | prednisone:1
chronic_pain | 0.18 | 0.88 | oxycodone:1
chronic_pain | 0.50 | 0.60 | gabapentin:5 lidocaine:4
glaucoma | 0.93 | - | latanoprost:1
hiv | 0.90 | - | emtricitabine:1
hiv | 0.45 | - | trimethoprim:1
metastases | 0.70 | - | oxycodone:5 morphine:5
metastases | 0.35 | - | methylprednisolone:1
breast_cancer | 0.60 | - | tamoxifen:1
prostate_cancer | 0.55 | - | bicalutamide:1
malnutrition | 0.35 | - | megestrol:1
malnutrition | 0.40 | - | multivitamin:1
anticoagulated | 0.90 | - | warfarin:1
pneumonia | 0.92 | - | ceftriaxone:5 levofloxacin:3 ampicillin_sulbactam:2
pneumonia | 0.55 | - | azithromycin:6 doxycycline:2
mrsa_pneumonia | 0.95 | - | vancomycin:1
aspiration_pneumonia | 0.92 | - | clindamycin:4 ampicillin_sulbactam:4 levofloxacin:1
aspiration_pneumonia | 0.45 | - | metronidazole:1
pseudomonas_pneumonia | 0.93 | - | piperacillin:5 cefepime:3
pseudomonas_pneumonia | 0.75 | - | tobramycin:1
influenza | 0.92 | - | oseltamivir:1
urinary_infection | 0.93 | - | ciprofloxacin:5 ceftriaxone:3 trimethoprim:2.5
cellulitis | 0.90 | - | cefazolin:5 nafcillin:3 clindamycin:1.5 vancomycin:1
sepsis | 0.80 | - | vancomycin:1
sepsis | 0.85 | - | piperacillin:5 cefepime:3 meropenem:2
sepsis | 0.70 | - | saline:1
septic_shock | 0.95 | - | norepinephrine:1
septic_shock | 0.40 | - | methylprednisolone:1
clostridium | 0.93 | - | metronidazole_po:6 vancomycin_po:4
candidiasis | 0.90 | - | fluconazole:5 nystatin:5
zoster | 0.92 | - | acyclovir:1
endocarditis | 0.90 | - | nafcillin:5 vancomycin:3
endocarditis | 0.75 | - | gentamicin:1
neutropenic_fever | 0.92 | - | cefepime:6 piperacillin:3
neutropenic_fever | 0.70 | - | filgrastim:1
kidney_injury | 0.60 | - | saline:1
hyperkalemia | 0.90 | - | kayexalate:1
hypokalemia | 0.93 | - | potassium:1
low_magnesium | 0.93 | - | magnesium:1
hyponatremia | 0.25 | - | saline:1
acidosis | 0.60 | - | bicarbonate:1
respiratory_failure | 0.80 | - | propofol:6 fentanyl:4
respiratory_failure | 0.60 | - | midazolam:1
respiratory_failure | 0.40 | - | albuterol:1
infarction | 0.92 | - | aspirin:5 clopidogrel:5
infarction | 0.85 | - | metoprolol:7 diltiazem:2
infarction | 0.75 | - | atorvastatin:1
infarction | 0.55 | - | nitroglycerin:1
unstable_angina | 0.75 | - | nitroglycerin:5 isosorbide:5
unstable_angina | 0.70 | - | metoprolol:7 diltiazem:2
ventricular_tachycardia | 0.80 | - | amiodarone:1
embolism | 0.92 | - | heparin:5 warfarin:5
thrombosis | 0.92 | - | heparin:5 warfarin:5
gastrointestinal_bleed | 0.93 | - | pantoprazole_iv:1
gastrointestinal_bleed | 0.25 | - | phytonadione:1
pancreatitis | 0.85 | - | morphine:5 ketorolac:3
pancreatitis | 0.60 | - | ondansetron:1
cholecystitis | 0.85 | - | ampicillin_sulbactam:4 ciprofloxacin:3 ceftriaxone:3
cholecystitis | 0.60 | - | metronidazole:1
cholecystitis | 0.65 | - | morphine:5 ketorolac:3
bowel_obstruction | 0.60 | - | ondansetron:4 metoclopramide:4
bowel_obstruction | 0.55 | - | morphine:5 ketorolac:3
stroke | 0.85 | - | aspirin:5 clopidogrel:5
stroke | 0.65 | - | atorvastatin:1
brain_hemorrhage | 0.65 | - | levetiracetam:1
brain_hemorrhage | 0.45 | - | amlodipine:5 hydralazine:4
seizure | 0.85 | - | levetiracetam:7 valproate:3
delirium | 0.70 | - | haloperidol:5 quetiapine:4 lorazepam:2
alcohol_withdrawal | 0.92 | - | diazepam:6 lorazepam:4
overdose | 0.85 | - | naloxone:1
hip_fracture | 0.88 | - | oxycodone:6 morphine:4 ketorolac:2
hip_fracture | 0.65 | - | cefazolin:6 clindamycin:1
hip_fracture | 0.40 | - | calcium_antacid:1
ketoacidosis | 0.95 | - | insulin_regular:1
constipation | 0.92 | - | lactulose:4 senna:6
urinary_retention | 0.65 | - | tamsulosin:1
pressure_ulcer | 0.45 | - | miconazole:1
"""


def _parse_decisions(text: str) -> tuple[Treatment, ...]:
    treatments = []
    for line in text.strip().splitlines():
        condition, mild, severe, options = (cell.strip() for cell in line.split("|"))
        pairs = (part.split(":") for part in options.split())
        weighted = tuple((key, float(weight)) for key, weight in pairs)
        treatments.append(
            Treatment(
                condition="" if condition == "*" else condition,
                probability=float(mild),
                options=weighted,
                severe_probability=float(mild if severe == "-" else severe),
            )
        )
    return tuple(treatments)


TREATMENTS: tuple[Treatment, ...] = _parse_decisions(_DECISIONS)
