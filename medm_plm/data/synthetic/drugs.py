"""Products of the invented cohort's pharmacy and their ATC third-level classes."""

from medm_plm.data.synthetic.clinical_types import Drug

# key | DRUG | ROUTE | ATC third level | strength | dose | unit
_FORMULARY = """
omeprazole | Omeprazole | PO | A02B | 20 mg Cap | 20 | mg
pantoprazole_iv | Pantoprazole Sodium | IV | A02B | 40 mg Vial | 40 | mg
famotidine | Famotidine | PO | A02B | 20 mg Tab | 20 | mg
calcium_antacid | Calcium Carbonate | PO | A12A | 500 mg Tab | 500 | mg
ondansetron | Ondansetron | IV | A04A | 4 mg/2 mL Vial | 4 | mg
metoclopramide | Metoclopramide | IV | A03F | 10 mg Vial | 10 | mg
ursodiol | Ursodiol | PO | A05A | 300 mg Cap | 300 | mg
docusate | Docusate Sodium | PO | A06A | 100 mg Cap | 100 | mg
senna | Senna | PO | A06A | 1 Tab | 1 | TAB
lactulose | Lactulose | PO | A06A | 10 g/15 mL Cup | 30 | mL
rifaximin | Rifaximin | PO | A07A | 550 mg Tab | 550 | mg
vancomycin_po | Vancomycin Oral Liquid | PO | A07A | 125 mg/2.5 mL | 125 | mg
nystatin | Nystatin Oral Suspension | PO | A07A | 5 mL Cup | 5 | mL
mesalamine | Mesalamine | PO | A07E | 400 mg Tab | 800 | mg
loperamide | Loperamide | PO | A07D | 2 mg Cap | 2 | mg
insulin_glargine | Insulin Glargine | SC | A10A | 100 Units/mL Vial | 18 | UNIT
insulin_regular | Insulin | SC | A10A | 100 Units/mL Vial | 4 | UNIT
metformin | MetFORMIN (Glucophage) | PO | A10B | 500 mg Tab | 500 | mg
glipizide | GlipiZIDE | PO | A10B | 2.5 mg Tab | 2.5 | mg
multivitamin | Multivitamins | PO | A11B | 1 Tab | 1 | TAB
thiamine | Thiamine | PO | A11D | 100 mg Tab | 100 | mg
vitamin_d | Vitamin D | PO | A11C | 400 Unit Tab | 800 | UNIT
potassium | Potassium Chloride | PO | A12B | 20 mEq Packet | 40 | mEq
magnesium | Magnesium Oxide | PO | A12C | 400 mg Tab | 400 | mg
megestrol | Megestrol Acetate | PO | L02A | 40 mg/mL Suspension | 400 | mg
heparin | Heparin | SC | B01A | 5000 Units/mL Vial | 5000 | UNIT
warfarin | Warfarin | PO | B01A | 2.5 mg Tab | 2.5 | mg
aspirin | Aspirin | PO | B01A | 81 mg Tab | 81 | mg
clopidogrel | Clopidogrel Bisulfate | PO | B01A | 75 mg Tab | 75 | mg
phytonadione | Phytonadione | PO | B02B | 5 mg Tab | 5 | mg
iron | Ferrous Sulfate | PO | B03A | 325 mg Tab | 325 | mg
folate | FoLIC Acid | PO | B03B | 1 mg Tab | 1 | mg
cyanocobalamin | Cyanocobalamin | PO | B03B | 500 mcg Tab | 1000 | mcg
epoetin | Epoetin Alfa | SC | B03X | 4000 Units/mL Vial | 4000 | UNIT
albumin | Albumin 25% (12.5g / 50mL) | IV | B05A | 12.5 g Vial | 25 | g
saline | 0.9% Sodium Chloride | IV | B05B | 1000 mL Bag | 1000 | mL
bicarbonate | Sodium Bicarbonate | IV | B05X | 50 mEq Syringe | 50 | mEq
digoxin | Digoxin | PO | C01A | 0.125 mg Tab | 0.125 | mg
amiodarone | Amiodarone | PO | C01B | 200 mg Tab | 200 | mg
norepinephrine | Norepinephrine | IV DRIP | C01C | 8 mg/250 mL Bag | 0.05 | mcg/kg/min
nitroglycerin | Nitroglycerin SL | SL | C01D | 0.3 mg Tab | 0.3 | mg
isosorbide | Isosorbide Mononitrate (Extended Release) | PO | C01D | 30 mg Tab | 30 | mg
clonidine | CloniDINE | PO | C02A | 0.1 mg Tab | 0.1 | mg
hydralazine | HydrALAzine | PO | C02D | 25 mg Tab | 25 | mg
hydrochlorothiazide | Hydrochlorothiazide | PO | C03A | 12.5 mg Cap | 12.5 | mg
furosemide | Furosemide | PO | C03C | 40 mg Tab | 40 | mg
furosemide_iv | Furosemide | IV | C03C | 40 mg/4 mL Vial | 40 | mg
spironolactone | Spironolactone | PO | C03D | 25 mg Tab | 25 | mg
metoprolol | Metoprolol Tartrate | PO | C07A | 25 mg Tab | 12.5 | mg
carvedilol | Carvedilol | PO | C07A | 3.125 mg Tab | 3.125 | mg
amlodipine | Amlodipine | PO | C08C | 5 mg Tab | 5 | mg
diltiazem | Diltiazem | PO | C08D | 30 mg Tab | 30 | mg
lisinopril | Lisinopril | PO | C09A | 5 mg Tab | 2.5 | mg
losartan | Losartan Potassium | PO | C09C | 50 mg Tab | 50 | mg
atorvastatin | Atorvastatin | PO | C10A | 40 mg Tab | 40 | mg
miconazole | Miconazole Powder 2% | TP | D01A | 90 g Bottle | 1 | Appl
oxybutynin | Oxybutynin | PO | G04B | 5 mg Tab | 5 | mg
tamsulosin | Tamsulosin | PO | G04C | 0.4 mg Cap | 0.4 | mg
prednisone | PredniSONE | PO | H02A | 20 mg Tab | 40 | mg
methylprednisolone | MethylPREDNISolone Sodium Succ | IV | H02A | 125 mg Vial | 60 | mg
levothyroxine | Levothyroxine Sodium | PO | H03A | 50 mcg Tab | 62.5 | mcg
methimazole | Methimazole | PO | H03B | 5 mg Tab | 7.5 | mg
doxycycline | Doxycycline Hyclate | PO | J01A | 100 mg Cap | 100 | mg
ampicillin_sulbactam | Ampicillin-Sulbactam | IV | J01C | 3 g Vial | 3 | gm
piperacillin | Piperacillin-Tazobactam Na | IV | J01C | 4.5 g Vial | 4.5 | gm
nafcillin | Nafcillin | IV | J01C | 2 g Vial | 2 | gm
ceftriaxone | CeftriaXONE | IV | J01D | 1 g Vial | 1 | gm
cefepime | CefePIME | IV | J01D | 2 g Vial | 2 | gm
cefazolin | CefazoLIN | IV | J01D | 1 g Vial | 1 | gm
meropenem | Meropenem | IV | J01D | 500 mg Vial | 500 | mg
trimethoprim | Sulfameth/Trimethoprim DS | PO | J01E | 1 Tab | 1 | TAB
azithromycin | Azithromycin | PO | J01F | 250 mg Tab | 250 | mg
clindamycin | Clindamycin | IV | J01F | 600 mg Vial | 600 | mg
gentamicin | Gentamicin | IV | J01G | 80 mg Vial | 80 | mg
tobramycin | Tobramycin Sulfate | IV | J01G | 80 mg Vial | 320 | mg
levofloxacin | Levofloxacin | PO | J01M | 750 mg Tab | 750 | mg
ciprofloxacin | Ciprofloxacin HCl | PO | J01M | 500 mg Tab | 500 | mg
vancomycin | Vancomycin | IV | J01X | 1 g Vial | 1000 | mg
metronidazole | MetRONIDAZOLE (FLagyl) | IV | J01X | 500 mg Bag | 500 | mg
metronidazole_po | MetRONIDAZOLE (FLagyl) | PO | P01A | 500 mg Tab | 500 | mg
fluconazole | Fluconazole | PO | J02A | 200 mg Tab | 200 | mg
acyclovir | Acyclovir | PO | J05A | 400 mg Cap | 400 | mg
oseltamivir | Oseltamivir | PO | J05A | 75 mg Cap | 75 | mg
emtricitabine | Emtricitabine-Tenofovir (Truvada) | PO | J05A | 1 Tab | 1 | TAB
filgrastim | Filgrastim | SC | L03A | 300 mcg Vial | 300 | mcg
interferon | Interferon Beta-1a | IM | L03A | 30 mcg Syringe | 30 | mcg
tacrolimus | Tacrolimus | PO | L04A | 0.5 mg Cap | 1.5 | mg
mycophenolate | Mycophenolate Mofetil | PO | L04A | 250 mg Cap | 500 | mg
methotrexate | Methotrexate | PO | L01B | 2.5 mg Tab | 15 | mg
tamoxifen | Tamoxifen Citrate | PO | L02B | 10 mg Tab | 20 | mg
bicalutamide | Bicalutamide | PO | L02B | 50 mg Tab | 50 | mg
ibuprofen | Ibuprofen | PO | M01A | 400 mg Tab | 400 | mg
ketorolac | Ketorolac | IV | M01A | 15 mg/mL Vial | 15 | mg
baclofen | Baclofen | PO | M03B | 10 mg Tab | 10 | mg
allopurinol | Allopurinol | PO | M04A | 100 mg Tab | 100 | mg
colchicine | Colchicine | PO | M04A | 0.6 mg Tab | 0.6 | mg
alendronate | Alendronate Sodium | PO | M05B | 70 mg Tab | 70 | mg
propofol | Propofol | IV DRIP | N01A | 10 mg/mL Emulsion | 20 | mcg/kg/min
lidocaine | Lidocaine 5% Patch | TD | N01B | 5 % Patch | 1 | PTCH
oxycodone | OxycoDONE (Immediate Release) | PO | N02A | 5 mg Tab | 5 | mg
morphine | Morphine Sulfate | IV | N02A | 4 mg/mL Syringe | 2 | mg
fentanyl | Fentanyl Citrate | IV DRIP | N02A | 2500 mcg/50 mL | 50 | mcg/hr
acetaminophen | Acetaminophen | PO | N02B | 325 mg Tab | 650 | mg
gabapentin | Gabapentin | PO | N03A | 300 mg Cap | 300 | mg
levetiracetam | LeVETiracetam | PO | N03A | 500 mg Tab | 500 | mg
valproate | Divalproex (DELayed Release) | PO | N03A | 500 mg Tab | 500 | mg
levodopa | Carbidopa-Levodopa (25-100) | PO | N04B | 1 Tab | 1 | TAB
haloperidol | Haloperidol | IV | N05A | 5 mg/mL Vial | 2.5 | mg
quetiapine | QUEtiapine Fumarate | PO | N05A | 25 mg Tab | 25 | mg
lithium | Lithium Carbonate | PO | N05A | 300 mg Cap | 300 | mg
lorazepam | Lorazepam | PO | N05B | 0.5 mg Tab | 0.5 | mg
diazepam | Diazepam | PO | N05B | 5 mg Tab | 10 | mg
midazolam | Midazolam | IV DRIP | N05C | 100 mg/100 mL Bag | 1.5 | mg/hr
zolpidem | Zolpidem Tartrate | PO | N05C | 5 mg Tab | 5 | mg
sertraline | Sertraline | PO | N06A | 50 mg Tab | 50 | mg
mirtazapine | Mirtazapine | PO | N06A | 15 mg Tab | 7.5 | mg
trazodone | TraZODone | PO | N06A | 50 mg Tab | 25 | mg
donepezil | Donepezil | PO | N06D | 5 mg Tab | 5 | mg
nicotine | Nicotine Patch | TD | N07B | 14 mg Patch | 14 | mg
methadone | Methadone | PO | N07B | 10 mg Tab | 30 | mg
albuterol | Albuterol 0.083% Neb Soln | IH | R03A | 2.5 mg/3 mL Neb | 1 | NEB
salmeterol | Fluticasone-Salmeterol Diskus (250/50) | IH | R03A | 1 Diskus | 1 | INH
ipratropium | Ipratropium Bromide Neb | IH | R03B | 0.5 mg/2.5 mL Neb | 1 | NEB
montelukast | Montelukast Sodium | PO | R03D | 10 mg Tab | 10 | mg
guaifenesin | Guaifenesin | PO | R05C | 100 mg/5 mL Cup | 5 | mL
diphenhydramine | DiphenhydrAMINE | PO | R06A | 25 mg Cap | 25 | mg
latanoprost | Latanoprost 0.005% Ophth. Soln. | OU | S01E | 2.5 mL Bottle | 1 | DROP
sevelamer | Sevelamer | PO | V03A | 800 mg Tab | 800 | mg
kayexalate | Sodium Polystyrene Sulfonate | PO | V03A | 15 g/60 mL | 30 | gm
naloxone | Naloxone | IV | V03A | 0.4 mg/mL Vial | 0.4 | mg
"""


def _parse_formulary(text: str) -> tuple[Drug, ...]:
    return tuple(Drug(*(cell.strip() for cell in line.split("|"))) for line in text.strip().splitlines())


DRUGS: tuple[Drug, ...] = _parse_formulary(_FORMULARY)
DRUG_INDEX: dict[str, int] = {drug.key: index for index, drug in enumerate(DRUGS)}
MEDICATION_CLASSES: tuple[str, ...] = tuple(sorted({drug.atc for drug in DRUGS}))


def pseudo_ndc(drug_index: int) -> str:
    """Return an 11-digit National Drug Code that no real product has, for one row of the formulary.

    Args:
        drug_index (`int`): position in `DRUGS`.

    Returns:
        The code, labeler 00000, as MIMIC writes it, without hyphens.
    """
    return f"00000{drug_index + 1:04d}01"
