"""GE's own measurements (Marquette 12SL, as MUSE exports them) beside ours, for the same ECGs.

    python benchmarks/muse.py ../shared/data/formats/ge_muse

Each file of MUSE XML holds 10 s of 8 leads ('Rhythm' waveform) and what 12SL measured on it; after an overreader's
changes it is theirs. Whether a sample's waveform and figures belong together is its author's word: an example made for
testing a converter may carry figures of no heart. The reader here is for this comparison alone.
"""

import argparse
import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.leads import standard_name
from ecgveil.measure import measure

# MUSE's name -> our column; P duration is not named there, but its ends are.
MEASUREMENTS = {
    "VentricularRate": "heart_rate_bpm",
    "PDuration": "p_duration_ms",
    "PRInterval": "pr_interval_ms",
    "QRSDuration": "qrs_duration_ms",
    "QTInterval": "qt_interval_ms",
    "QTCorrected": "qtc_bazett_ms",
    "QTcFrederica": "qtc_fridericia_ms",
    "PAxis": "p_axis_deg",
    "RAxis": "qrs_axis_deg",
    "TAxis": "t_axis_deg",
    "QRSCount": "n_beats",
}


def read_ecg(root: ElementTree.Element, name: str) -> ECGSet:
    """The 'Rhythm' waveform in mV."""
    wave = next(each for each in root.findall("Waveform") if each.findtext("WaveformType") == "Rhythm")
    leads, rows = [], []
    for data in wave.findall("LeadData"):
        if data.findtext("LeadAmplitudeUnits") != "MICROVOLTS" or data.findtext("LeadSampleSize") != "2":
            raise SystemExit(f"{name}: a lead is not in 16-bit samples of microvolts")
        counts = np.frombuffer(base64.b64decode(data.findtext("WaveFormData", "")), "<i2")
        leads.append(standard_name(data.findtext("LeadID", "")) or "")
        rows.append(counts * float(data.findtext("LeadAmplitudeUnitsPerBit", "nan")) / 1000)
    fs = float(wave.findtext("SampleBase", "nan")) * 10.0 ** int(wave.findtext("SampleExponent", "0"))
    demographics = root.find("PatientDemographics")
    years = demographics.findtext("AgeUnits") == "YEARS"
    age = float(demographics.findtext("PatientAge") or "nan") if years else float("nan")
    sex = (demographics.findtext("Gender") or "").lower()
    sex = sex if sex in ("female", "male") else ""
    return ECGSet(np.stack(rows)[None], fs, tuple(leads), (name,), age=np.array([age]), sex=(sex,))


def read_measurements(root: ElementTree.Element) -> dict[str, float]:
    """What MUSE states, under its own names; absent ones are left out."""
    block = root.find("RestingECGMeasurements")
    values = {each.tag: float(each.text or "nan") for each in block if _is_number(each.text)}
    if {"POnset", "POffset", "ECGSampleBase"} <= values.keys():
        values["PDuration"] = (values["POffset"] - values["POnset"]) * 1000 / values["ECGSampleBase"]
    return {name: values[name] for name in MEASUREMENTS if name in values}


def _is_number(text: str | None) -> bool:
    return bool(re.fullmatch(r"-?[0-9]+", (text or "").strip()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for file in sorted(args.folder.glob("*.xml")):
        root = ElementTree.parse(file).getroot()
        ecgs = read_ecg(root, file.stem)
        row = measure(ecgs).iloc[0]
        form = f"{ecgs.seconds:g} s, {ecgs.fs:g} Hz, {', '.join(ecgs.leads)}"
        print(f"\n{file.name} ({form}; {ecgs.sex[0] or 'sex unknown'}, {ecgs.age[0]:g} years)")
        print(f"{'':18s} {'MUSE':>7s} {'ours':>7s}    off")
        for name, theirs in read_measurements(root).items():
            ours = float(row[MEASUREMENTS[name]])
            print(f"{name:18s} {theirs:7.0f} {ours:7.1f} {ours - theirs:+6.1f}")
        said = [(each.text or "").strip() for each in root.findall("./Diagnosis/DiagnosisStatement/StmtText")]
        print(f"MUSE: {'; '.join(said)}")
        print(f"ours: {row['statements']} ({row['conclusion']}); reasons: {row['reasons'] or 'none'}")


if __name__ == "__main__":
    main()
