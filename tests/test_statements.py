"""Statements: made-up tables, each rule just before and just beyond its limit."""

import re
import time
import tomllib
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ecgveil.errors import RecordError
from ecgveil.measure.statements import CONCLUSIONS, GROUPS, Compare, Missing, Rules, _parts, rules, statements

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
SCALARS = {
    "n_beats": 11, "n_ventricular": 0, "n_supraventricular": 0, "n_noisy": 0, "heart_rate_bpm": 68.0,
    "rr_mean_ms": 882.0, "rr_sd_ms": 25.0, "rr_rmssd_ms": 28.0, "p_duration_ms": 104.0, "pr_interval_ms": 158.0,
    "qrs_duration_ms": 92.0, "qt_interval_ms": 395.0, "qtc_bazett_ms": 421.0, "qtc_fridericia_ms": 412.0,
    "qtc_framingham_ms": 413.0, "qtc_hodges_ms": 409.0, "p_axis_deg": 50.0, "qrs_axis_deg": 45.0, "t_axis_deg": 40.0,
    "p_present": 1.0, "p_beats_share": 1.0, "limb_residual_uv": 2.0, "noise_uv": 5.0, "wander_uv": 40.0,
    "flat_leads": 0, "wild_leads": 0, "reasons": "",
}  # fmt: skip
WAVES = {  # p, q, r, s, r2, t, stj, st60 (uV), durations of q, r, s, R peak time (ms)
    "i": (60, -30, 700, -80, 0, 250, 10, 20, 12, 50, 20, 38),
    "ii": (110, -40, 1000, -120, 0, 320, 15, 30, 14, 52, 20, 40),
    "iii": (50, -30, 300, -60, 0, 80, 5, 10, 12, 45, 22, 40),
    "avr": (-85, -700, 100, -30, 0, -280, -12, -25, 40, 20, 15, 60),
    "avl": (20, -20, 250, -60, 0, 90, 5, 5, 10, 45, 20, 38),
    "avf": (80, -30, 650, -80, 0, 200, 10, 20, 12, 50, 20, 40),
    "v1": (40, 0, 250, -900, 0, 60, 30, 50, 0, 25, 50, 20),
    "v2": (50, 0, 500, -1200, 0, 500, 70, 110, 0, 30, 50, 25),
    "v3": (50, 0, 800, -800, 0, 550, 60, 100, 0, 38, 45, 32),
    "v4": (50, -30, 1400, -400, 0, 500, 30, 60, 10, 48, 30, 38),
    "v5": (50, -50, 1300, -150, 0, 380, 15, 30, 14, 52, 20, 40),
    "v6": (50, -50, 1000, -60, 0, 280, 10, 20, 14, 52, 16, 40),
}
NAMES = ("p_{}_uv", "q_{}_uv", "r_{}_uv", "s_{}_uv", "r2_{}_uv", "t_{}_uv", "stj_{}_uv", "st60_{}_uv",
         "q_{}_ms", "r_{}_ms", "s_{}_ms", "rpt_{}_ms")  # fmt: skip
HEALTHY = SCALARS | {name.format(lead): value for lead in LEADS for name, value in zip(NAMES, WAVES[lead], strict=True)}
HEALTHY |= {f"notch_{lead}": 1.0 for lead in LEADS}
AMPLITUDES = {name: np.nan for name in HEALTHY if name.endswith("_uv") or name.endswith("_axis_deg")}

UNLIKE_SINUS = {"p_present": 0.0, "p_beats_share": 0.0, "p_duration_ms": np.nan, "pr_interval_ms": np.nan}
NO_Q = {"q_i_ms": 0, "q_v5_ms": 0, "q_v6_ms": 0, "q_i_uv": 0, "q_v5_uv": 0, "q_v6_uv": 0}
RBBB = {"r2_v1_uv": 600, "rpt_v1_ms": 80, "s_i_ms": 55, "s_v6_ms": 60}
VOLTAGE = {"s_v1_uv": -2000, "r_v5_uv": 1600}
RIGHT = {"qrs_axis_deg": 100.0, "q_i_ms": 0, "q_avl_ms": 0, "q_i_uv": 0, "q_avl_uv": 0,
         "s_i_uv": -900, "s_avl_uv": -900, "r_iii_uv": 900}  # fmt: skip
TALL_V1 = {"r_v1_uv": 700, "s_v1_uv": -600}


def lateral(wave: str, uv: float) -> dict[str, float]:
    return {f"{wave}_v5_uv": uv, f"{wave}_v6_uv": uv}


# code -> cases of (what both share, what keeps it just from firing, what makes it fire); age and sex may be set too
CASES: dict[str, list[tuple[dict, dict, dict]]] = {
    "NO_AMPLITUDES": [(AMPLITUDES, {"reasons": "no_t"}, {"reasons": "no_t; unit_sd"})],
    "FEW_BEATS": [({}, {"n_beats": 3}, {"n_beats": 2}), ({}, {}, {"heart_rate_bpm": np.nan})],
    "NOISY_BEATS": [({"n_beats": 10}, {"n_noisy": 5}, {"n_noisy": 6})],
    "NOISE": [({}, {"noise_uv": 60.0}, {"noise_uv": 60.1})],
    "WILD_LEAD": [({}, {"wild_leads": 0}, {"wild_leads": 1})],
    "FLAT_LEADS": [({}, {"flat_leads": 3}, {"flat_leads": 4})],
    "WANDER": [({}, {"wander_uv": 5000.0}, {"wander_uv": 5000.1})],
    "CHILD": [({}, {"age": 16.0}, {"age": 15.9}), ({}, {"age": np.nan}, {"age": 3.0})],
    "FLAT_LEAD": [({}, {"flat_leads": 0}, {"flat_leads": 1})],
    "LIMB_LEADS": [({}, {"limb_residual_uv": 50.0}, {"limb_residual_uv": 50.1})],
    "ARM_REVERSAL": [
        ({"p_i_uv": -60, "s_i_uv": -1100, "t_i_uv": -200}, {"p_i_uv": -49}, {"p_i_uv": -50}),
        ({"p_i_uv": -60, "t_i_uv": -200, "r_i_uv": 100}, {"s_i_uv": -399}, {"s_i_uv": -400}),
        ({"p_i_uv": -60, "s_i_uv": -1100, "t_i_uv": -200}, {"s_v6_uv": -1000}, {}),  # dextrocardia
        ({"p_i_uv": -60, "s_i_uv": -1100, "t_i_uv": -200}, {"s_v6_uv": -701}, {"s_v6_uv": -700}),
        ({"p_i_uv": -60, "s_i_uv": -1100}, {"t_i_uv": 0}, {"t_i_uv": -1}),
    ],
    "AFIB": [
        (UNLIKE_SINUS, {"rr_rmssd_ms": 88.0}, {"rr_rmssd_ms": 88.4}),
        ({"rr_rmssd_ms": 200.0}, {"p_beats_share": 0.5}, {"p_beats_share": 0.49}),
        (UNLIKE_SINUS | {"n_supraventricular": 4}, {"rr_sd_ms": 88.0}, {"rr_sd_ms": 88.4}),
        (UNLIKE_SINUS | {"rr_sd_ms": 200.0}, {"n_ventricular": 1}, {"rr_rmssd_ms": np.nan}),
        ({"rr_sd_ms": 200.0}, {}, UNLIKE_SINUS),
    ],
    "WCT": [(UNLIKE_SINUS | {"heart_rate_bpm": 150.0}, {"qrs_duration_ms": 119}, {"qrs_duration_ms": 120}),
            (UNLIKE_SINUS | {"qrs_duration_ms": 130}, {"heart_rate_bpm": 100.0}, {"heart_rate_bpm": 100.1})],
    "SVTAC": [(UNLIKE_SINUS, {"heart_rate_bpm": 100.0}, {"heart_rate_bpm": 100.1})],
    "JUNC": [(UNLIKE_SINUS, {"heart_rate_bpm": 60.1}, {"heart_rate_bpm": 60.0}),
             (UNLIKE_SINUS | {"heart_rate_bpm": 45.0}, {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119.9})],
    "NO_P": [(UNLIKE_SINUS, {"heart_rate_bpm": 60.0}, {"heart_rate_bpm": 60.1})],
    "ATRIAL": [({}, {"p_axis_deg": -50.0}, {"p_axis_deg": -50.1}), ({}, {"p_axis_deg": 110.0}, {"p_axis_deg": 110.1})],
    "SR": [({}, {"heart_rate_bpm": 59.4}, {"heart_rate_bpm": 59.5}),
           ({}, {"heart_rate_bpm": 100.5}, {"heart_rate_bpm": 100.4})],
    "SBRAD": [({}, {"heart_rate_bpm": 59.5}, {"heart_rate_bpm": 59.4})],
    "SBRAD_MARKED": [({}, {"heart_rate_bpm": 40.1}, {"heart_rate_bpm": 40.0})],
    "STACH": [({}, {"heart_rate_bpm": 100.4}, {"heart_rate_bpm": 100.5})],
    "IRREGULAR": [({}, {"rr_rmssd_ms": 88.0}, {"rr_rmssd_ms": 88.4})],
    "SARRH": [({}, {"rr_sd_ms": 42.0}, {"rr_sd_ms": 42.1}),
              ({"rr_sd_ms": 80.0}, {"n_ventricular": 1}, {}), ({"rr_sd_ms": 80.0}, {"rr_rmssd_ms": 120.0}, {})],
    "PVC_FREQUENT": [({}, {"n_ventricular": 1}, {"n_ventricular": 2}),
                     ({"n_ventricular": 2}, {"n_beats": 21}, {"n_beats": 20}),
                     ({"n_ventricular": 1}, {"n_beats": 9}, {"n_beats": 9, "n_ventricular": 2})],
    "PVC": [({}, {}, {"n_ventricular": 1}), ({}, {"n_ventricular": 2}, {"n_ventricular": 1})],
    "PAC": [({}, {}, {"n_supraventricular": 1})],
    "1AVB": [({}, {"pr_interval_ms": 200.0}, {"pr_interval_ms": 200.1})],
    "1AVB_MARKED": [({}, {"pr_interval_ms": 299.9}, {"pr_interval_ms": 300.0})],
    "WPW": [({"pr_interval_ms": 100.0, "rpt_v5_ms": 70}, {"qrs_duration_ms": 119}, {"qrs_duration_ms": 120}),
            ({"pr_interval_ms": 100.0, "qrs_duration_ms": 130}, {"rpt_v4_ms": 59}, {"rpt_v4_ms": 60}),
            ({"rpt_v5_ms": 70, "qrs_duration_ms": 130}, {"pr_interval_ms": 120}, {"pr_interval_ms": 119})],
    "SHORT_PR": [({}, {"pr_interval_ms": 120.0}, {"pr_interval_ms": 119.9})],
    "CRBBB": [
        (RBBB, {"qrs_duration_ms": 119.9}, {"qrs_duration_ms": 120.0}),
        (RBBB | {"qrs_duration_ms": 130, "rpt_v1_ms": 50}, {"r2_v1_uv": 99}, {"r2_v1_uv": 100}),
        (RBBB | {"qrs_duration_ms": 130}, {"rpt_v1_ms": 121}, {"rpt_v1_ms": 120}),
        (RBBB | {"qrs_duration_ms": 130, "r2_v1_uv": np.nan, "reasons": "unit_sd"},
         {"rpt_v1_ms": 50}, {"rpt_v1_ms": 51}),
        (RBBB | {"qrs_duration_ms": 130, "r2_v1_uv": 0}, {"rpt_v1_ms": 121}, {"rpt_v1_ms": 120}),
        (RBBB | {"qrs_duration_ms": 130, "rpt_v1_ms": 0, "r2_v1_uv": 0, "r2_v2_uv": 300},
         {"rpt_v2_ms": 121}, {"rpt_v2_ms": 120}),
        (RBBB | {"qrs_duration_ms": 130}, {"s_v6_ms": 40, "r_v6_ms": 40}, {"s_v6_ms": 41}),
        ({"qrs_duration_ms": 130, "r_v1_uv": 950}, {"rpt_v1_ms": 59}, {"rpt_v1_ms": 60}),
        ({"qrs_duration_ms": 130, "rpt_v1_ms": 60}, {"r_v1_uv": 900}, {"r_v1_uv": 901}),
        (RBBB | {"qrs_duration_ms": 130}, {"s_i_ms": 35, "r_i_ms": 35}, {"s_i_ms": 35, "r_i_ms": 34}),
    ],
    "CLBBB": [(NO_Q | {"rpt_v6_ms": 80}, {"qrs_duration_ms": 119.9}, {"qrs_duration_ms": 120.0}),
              (NO_Q | {"qrs_duration_ms": 140}, {"rpt_i_ms": 59}, {"rpt_i_ms": 60}),
              (NO_Q | {"qrs_duration_ms": 140, "rpt_i_ms": 60}, {"r_v1_ms": 50}, {"r_v1_ms": 49}),
              (NO_Q | {"qrs_duration_ms": 140, "rpt_v6_ms": 80}, {"q_v5_ms": 20}, {"q_v5_ms": 19})],
    "IVCD": [({}, {"qrs_duration_ms": 119.9}, {"qrs_duration_ms": 120.0}),
             ({"qrs_duration_ms": 140, "rpt_v6_ms": 80}, NO_Q, {"q_i_ms": 25})],
    "IRBBB": [(RBBB | {"r_v1_uv": 700}, {"qrs_duration_ms": 109.9}, {"qrs_duration_ms": 110.0}),
              (RBBB, {"qrs_duration_ms": 120.0}, {"qrs_duration_ms": 119.9}),
              ({"r2_v2_uv": 300}, {"r_v2_uv": 300}, {"r_v2_uv": 299}),
              ({"r_v2_uv": 50}, {"r2_v2_uv": 99}, {"r2_v2_uv": 100})],
    "ILBBB": [(NO_Q | {"rpt_v4_ms": 65, "rpt_v5_ms": 65, "rpt_v6_ms": 65},
               {"qrs_duration_ms": 109.9}, {"qrs_duration_ms": 110}),
              (NO_Q | {"rpt_v4_ms": 65, "rpt_v5_ms": 65, "rpt_v6_ms": 65},
               {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119.9}),
              (NO_Q | {"qrs_duration_ms": 115, "rpt_v4_ms": 65, "rpt_v5_ms": 65},
               {"rpt_v6_ms": 60}, {"rpt_v6_ms": 61})],
    "LAFB": [({"rpt_avl_ms": 50}, {"qrs_axis_deg": -44.9}, {"qrs_axis_deg": -45.0}),
             ({"rpt_avl_ms": 50}, {"qrs_axis_deg": -90.1}, {"qrs_axis_deg": -90.0}),
             ({"qrs_axis_deg": -60.0}, {"rpt_avl_ms": 44}, {"rpt_avl_ms": 45}),
             ({"qrs_axis_deg": -60.0, "rpt_avl_ms": 50}, {"q_avl_ms": 0}, {"q_avl_ms": 8}),
             ({"qrs_axis_deg": -60.0, "rpt_avl_ms": 50}, {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119.9}),
             ({"qrs_axis_deg": -60.0, "rpt_avl_ms": 50, "qrs_duration_ms": 130}, {}, RBBB)],
    "LPFB": [(RIGHT, {"qrs_axis_deg": 89.9}, {"qrs_axis_deg": 90.0}), (RIGHT, {"q_iii_ms": 0}, {}),
             (RIGHT, {"r_i_uv": 0}, {"r_i_uv": 1}), (RIGHT, {"s_avl_uv": -250}, {"s_avl_uv": -251}),
             (RIGHT | {"s_avf_uv": -650}, {"r_avf_uv": 650}, {"r_avf_uv": 651}),
             (RIGHT, {"q_avl_ms": 10}, {}), (RIGHT, {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119})],
    "LAD": [({}, {"qrs_axis_deg": -30.0}, {"qrs_axis_deg": -30.1}),
            ({}, {"qrs_axis_deg": -90.1}, {"qrs_axis_deg": -90.0}),
            ({"qrs_axis_deg": -60.0}, {"rpt_avl_ms": 50}, {"rpt_avl_ms": 40})],
    "RAD": [({}, {"qrs_axis_deg": 90.0}, {"qrs_axis_deg": 90.1}),
            ({}, {"qrs_axis_deg": 120.1}, {"qrs_axis_deg": 120.0})],
    "RAD_MARKED": [({}, {"qrs_axis_deg": 120.0}, {"qrs_axis_deg": 120.1})],
    "EXTREME_AXIS": [({}, {"qrs_axis_deg": -90.0}, {"qrs_axis_deg": -90.1})],
    "LVOLT": [
        ({"r_i_uv": 200, "r_iii_uv": 200, "s_ii_uv": -100}, {"r_ii_uv": 400}, {"r_ii_uv": 399}),
        ({f"r_v{k}_uv": 400 for k in range(1, 7)} | {f"s_v{k}_uv": -500 for k in range(1, 6)},
         {"s_v6_uv": -600}, {"s_v6_uv": -599}),
    ],
    "LVH": [(VOLTAGE, {"t_v6_uv": -99}, {"t_v6_uv": -100}), (VOLTAGE, {"stj_avl_uv": -49}, {"stj_avl_uv": -50}),
            (VOLTAGE | {"t_avl_uv": -150, "s_avl_uv": -250}, {"r_avl_uv": 250}, {"r_avl_uv": 251}),
            (VOLTAGE | {"t_i_uv": -150}, {"qrs_duration_ms": 120}, {})],
    "VCLVH": [({"s_v1_uv": -2000}, {"r_v5_uv": 1499, "r_v6_uv": 1499}, {"r_v6_uv": 1500}),
              ({"s_v3_uv": -1500, "sex": "male"}, {"r_avl_uv": 1300}, {"r_avl_uv": 1301}),
              ({"s_v3_uv": -1500, "sex": "female"}, {"r_avl_uv": 500}, {"r_avl_uv": 501}),
              ({"s_v3_uv": -1500, "r_avl_uv": 501}, {"sex": ""}, {"sex": "female"}),
              (VOLTAGE, {"age": 34.9}, {"age": 35.0}), (VOLTAGE, {"age": 20.0}, {"age": np.nan}),
              (VOLTAGE, {"qrs_duration_ms": 120}, {})],
    "RVH": [(TALL_V1, {"qrs_axis_deg": 90.0}, {"qrs_axis_deg": 90.1})],
    "TALL_R_V1": [({"s_v1_uv": -300}, {"r_v1_uv": 499}, {"r_v1_uv": 500}),
                  ({"r_v1_uv": 700}, {"s_v1_uv": -701}, {"s_v1_uv": -700}), (TALL_V1, {"qrs_axis_deg": 95.0}, {}),
                  (TALL_V1, {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119.9}),
                  (TALL_V1 | {f"s_v{k}_uv": -400 for k in range(2, 7)} | {"r_v2_uv": 500, "r_v3_uv": 500},
                   {"s_v3_uv": -500}, {"s_v3_uv": -501})],
    "QWAVE": [
        ({"q_v2_uv": -120}, {"q_v2_ms": 20}, {"q_v2_ms": 21}), ({"q_v3_ms": 25}, {"q_v3_uv": -99}, {"q_v3_uv": -100}),
        ({"q_ii_ms": 35, "q_ii_uv": -200, "q_avf_uv": -200}, {"q_avf_ms": 29}, {"q_avf_ms": 30}),
        ({"q_v5_ms": 35, "q_v6_ms": 35, "q_v5_uv": -200}, {"q_v6_uv": -99}, {"q_v6_uv": -100}),
        ({"q_iii_uv": -200, "q_avf_uv": -200, "q_avf_ms": 45}, {"q_iii_ms": 39}, {"q_iii_ms": 40}),
        ({"r_v2_uv": 0, "r_v3_uv": 10}, {"r_v2_uv": 20}, {"r_v2_uv": 19.9}),  # QS, named as s
        ({"r_v2_uv": 0, "r_v3_uv": 0}, {"s_v3_uv": -99}, {"s_v3_uv": -100}),
        ({"q_v2_uv": -120, "q_v2_ms": 25}, {"r_v2_uv": 19.9}, {"r_v2_uv": 20}),
        ({"q_iii_uv": -200, "q_iii_ms": 45, "q_avf_ms": 45}, {"q_avf_uv": -99}, {"q_avf_uv": -100}),
        ({"r_v2_uv": 0, "r_v3_uv": 0}, {"r_v2_uv": 300}, {"q_v2_uv": -900, "s_v2_uv": 0}),  # QS, named as q
    ],
    "POOR_R": [({"r_v2_uv": 150}, {"r_v3_uv": 301}, {"r_v3_uv": 300}),
               ({"r_v3_uv": 200}, {"r_v2_uv": 201}, {"r_v2_uv": 200})],
    "EARLY_REPOLARISATION": [
        ({"stj_v4_uv": 120, "st60_v4_uv": 180, "st60_v5_uv": 150}, {"stj_v5_uv": 99}, {"stj_v5_uv": 100}),
        ({"stj_v4_uv": 150, "stj_v5_uv": 120, "st60_v5_uv": 150}, {"st60_v4_uv": 149}, {"st60_v4_uv": 150}),
        ({"stj_v4_uv": 150, "stj_v5_uv": 120, "st60_v4_uv": 200, "st60_v5_uv": 150},
         {"stj_iii_uv": -50}, {"stj_iii_uv": -49}),
        ({"stj_v4_uv": 150, "st60_v4_uv": 200, "st60_v5_uv": 300}, {"stj_v5_uv": 201}, {"stj_v5_uv": 200}),
        ({"stj_v5_uv": 150, "st60_v5_uv": 200, "st60_v4_uv": 400}, {"stj_v4_uv": 301}, {"stj_v4_uv": 300}),
        ({"stj_v4_uv": 150, "stj_v5_uv": 120, "st60_v4_uv": 200, "st60_v5_uv": 150, "st60_ii_uv": 50},
         {"stj_ii_uv": 100}, {"stj_ii_uv": 99}),
        ({"stj_v4_uv": 150, "stj_v5_uv": 120, "st60_v4_uv": 200, "st60_v5_uv": 150}, {"t_v5_uv": 0}, {"t_v5_uv": 1}),
    ],
    "STE_": [
        ({"stj_ii_uv": 150, "stj_avl_uv": -60}, {"stj_avf_uv": 99}, {"stj_avf_uv": 100}),
        ({"stj_v2_uv": 400, "sex": "female"}, {"stj_v3_uv": 149}, {"stj_v3_uv": 150}),
        ({"stj_v2_uv": 400, "sex": "male", "age": 40.0}, {"stj_v3_uv": 199}, {"stj_v3_uv": 200}),
        ({"stj_v2_uv": 400, "sex": "male", "age": 39.0}, {"stj_v3_uv": 249}, {"stj_v3_uv": 250}),
        ({"stj_v2_uv": 400}, {"stj_v3_uv": 249}, {"stj_v3_uv": 250}),
        ({"stj_ii_uv": 150, "stj_avl_uv": -60, "stj_avf_uv": 120}, {"qrs_duration_ms": 120}, {}),
    ],
    "STD_": [(lateral("st60", -90), lateral("stj", -49), lateral("stj", -50)),
             (lateral("stj", -80), lateral("st60", -79), lateral("st60", -80)),  # upsloping is none
             ({"stj_v5_uv": -80, "st60_v5_uv": -80, "st60_v6_uv": -80}, {"stj_v6_uv": 0}, {"stj_v6_uv": -60})],
    "INVT": [({}, lateral("t", -99), lateral("t", -100)), ({"t_v5_uv": -200}, {"t_v6_uv": 50}, {"t_v6_uv": -150}),
             ({"t_i_uv": -150, "t_avl_uv": -150}, {"r_avl_uv": 499}, {"r_avl_uv": 500}),
             ({"t_i_uv": -150, "r_avl_uv": 600}, {"t_avl_uv": -99}, {"t_avl_uv": -100}),
             ({"t_avl_uv": -150, "r_avl_uv": 600}, {"t_i_uv": -99}, {"t_i_uv": -100}),
             ({"t_ii_uv": -150, "t_avf_uv": -150}, {"s_avf_uv": -650}, {"s_avf_uv": -649}),
             ({"t_ii_uv": -150}, {"t_avf_uv": -99}, {"t_avf_uv": -100}),
             ({"t_avf_uv": -150}, {"t_ii_uv": -99}, {"t_ii_uv": -100}),
             ({}, {"t_v1_uv": -300, "t_v2_uv": -300}, {"t_i_uv": -200, "t_ii_uv": -200})],
    "LOWT": [({"t_v5_uv": 60}, {"t_v6_uv": 100}, {"t_v6_uv": 99}),
             ({"t_v5_uv": 60, "t_v6_uv": 60}, {"r_v6_uv": 600}, {}),
             ({"t_i_uv": 10}, {"t_ii_uv": 100, "r_ii_uv": 1200}, {"t_ii_uv": 99}),
             ({"t_i_uv": 10}, {"t_ii_uv": -100}, {"t_ii_uv": -99})],
    "LNGQT": [({"sex": "male"}, {"qtc_framingham_ms": 449.9}, {"qtc_framingham_ms": 450.0}),
              ({"sex": "female"}, {"qtc_framingham_ms": 459.9}, {"qtc_framingham_ms": 460.0}),
              ({"sex": ""}, {"qtc_framingham_ms": 459.9}, {"qtc_framingham_ms": 460.0}),
              ({"qtc_framingham_ms": 480.0}, {"qrs_duration_ms": 120}, {"qrs_duration_ms": 119})],
    "SHORT_QT": [({}, {"qtc_framingham_ms": 360.1}, {"qtc_framingham_ms": 360.0})],
    "SHORT_QT_MARKED": [({}, {"qtc_framingham_ms": 340.1}, {"qtc_framingham_ms": 340.0})],
    "P_UNKNOWN": [({}, {}, {"p_present": np.nan}), (UNLIKE_SINUS, {}, {"p_present": 1.0})],
    "RHYTHM_UNKNOWN": [({}, {}, {"rr_rmssd_ms": np.nan}), ({"rr_sd_ms": np.nan}, {"n_beats": 2}, {})],
    "QRS_UNKNOWN": [({}, {}, {"qrs_duration_ms": np.nan})],
    "QT_UNKNOWN": [({}, {}, {"qtc_framingham_ms": np.nan})],
    "AMPLITUDES_UNKNOWN": [({}, {}, {"t_v3_uv": np.nan}), ({}, {}, {"qrs_axis_deg": np.nan}),
                           (AMPLITUDES, {"reasons": "unit_sd"}, {"reasons": "missing_leads"}),
                           ({"p_axis_deg": np.nan}, UNLIKE_SINUS, {})],
}  # fmt: skip


def judge(*rows: dict) -> pd.DataFrame:
    """Statements on healthy rows with changes, which may set age and sex too."""
    table = pd.DataFrame([HEALTHY | row for row in rows])
    age = table.pop("age").to_numpy() if "age" in table else np.full(len(rows), np.nan)
    sex = table.pop("sex").fillna("").tolist() if "sex" in table else [""] * len(rows)
    return statements(table, age, sex)


def codes(*rows: dict) -> list[set[str]]:
    return [set(text.split(";")) for text in judge(*rows)["codes"]]


@cache
def cases_judged() -> dict[str, list[tuple[set[str], set[str], str]]]:
    """For each code its cases' codes just before the limit, those beyond it, and the conclusion beyond it."""
    flat = [(code, *case) for code, cases in CASES.items() for case in cases]
    made = judge(*(shared | side for _, shared, *sides in flat for side in sides))
    found = [set(text.split(";")) for text in made["codes"]]
    judged: dict[str, list] = {code: [] for code in CASES}
    for k, (code, *_) in enumerate(flat):
        judged[code].append((found[2 * k], found[2 * k + 1], made["conclusion"].iloc[2 * k + 1]))
    return judged


@pytest.mark.parametrize("code", CASES)
def test_a_statement_is_made_just_beyond_its_limit(code):
    for number, (before, after, _) in enumerate(cases_judged()[code]):
        assert code not in before, f"case {number} of {code}"
        assert code in after, f"case {number} of {code}"


def test_every_rule_is_reached_and_has_a_source():
    assert set(CASES) == {rule.code for rule in rules().rule}
    for rule in rules().rule:
        assert len(rule.source) > 3
    used = " ".join(resources.files("ecgveil.measure").joinpath("rules.toml").read_text("utf-8").split("[[rule]]")[1:])
    for pattern in rules().pattern:
        assert f'"{pattern.name}"' in used, f"no rule uses {pattern.name}"


def test_a_healthy_ecg_is_normal():
    one = judge({}).iloc[0]
    assert (one["statements"], one["codes"], one["conclusion"]) == ("sinus rhythm", "SR", "normal")
    everyone = judge(
        *({"age": age, "sex": sex} for age in (16.0, 30.0, 80.0, np.nan) for sex in ("female", "male", ""))
    )
    assert set(everyone["codes"]) == {"SR"}


@pytest.mark.parametrize("rule", rules().rule, ids=lambda rule: rule.code)
def test_a_rule_forces_its_level(rule):
    for _, _, conclusion in cases_judged()[rule.code]:
        assert CONCLUSIONS.index(conclusion) >= CONCLUSIONS.index("abnormal" if rule.gives_way else rule.level)
    if rule.gives_way:
        assert "not interpretable" in {conclusion for _, _, conclusion in cases_judged()[rule.code]}


def test_conclusions():
    rows = {
        "normal": {"rr_sd_ms": 60.0},
        "otherwise normal": {"heart_rate_bpm": 55.0, "pr_interval_ms": 210.0},
        "abnormal": {"heart_rate_bpm": 55.0, "qrs_duration_ms": 130.0},
        "not interpretable": {"noise_uv": 300.0, "qrs_duration_ms": 130.0},
    }
    assert judge(*rows.values())["conclusion"].tolist() == list(rows)


def test_what_was_not_measured_is_not_normal_but_an_abnormality_stands():
    unknown = {"qtc_framingham_ms": np.nan}
    made = judge(unknown, unknown | {"heart_rate_bpm": 55.0}, unknown | {"qrs_duration_ms": 130.0})
    assert made["conclusion"].tolist() == ["not interpretable", "not interpretable", "abnormal"]
    assert made["codes"].str.contains("QT_UNKNOWN").all()


def test_no_missing_value_makes_an_abnormality():
    """A comparison with NaN is false, so a healthy ECG less one value says nothing new but what is unknown."""
    columns = [name for name in HEALTHY if name != "reasons"]
    for column, found in zip(columns, codes(*({column: np.nan} for column in columns)), strict=True):
        new = found - {"SR"}
        assert all(code.endswith("_UNKNOWN") or code == "FEW_BEATS" for code in new), (column, new)


def test_nothing_measured():
    made = judge({name: np.nan for name in HEALTHY if name != "reasons"} | {"reasons": "no_beat"}).iloc[0]
    assert made["conclusion"] == "not interpretable"
    assert "FEW_BEATS" in made["codes"]
    assert "SR" not in made["codes"].split(";")


def test_without_mv_rhythm_and_intervals_decide_and_it_is_said():
    unit = AMPLITUDES | {"reasons": "unit_sd"}
    fine, blocked = judge(
        unit, unit | {"qrs_duration_ms": 140, "rpt_v6_ms": 80} | {k: 0 for k in NO_Q if "_ms" in k}
    ).iloc
    assert fine["conclusion"] == "not interpretable"  # who has not seen voltages and ST-T calls nothing normal
    assert "rhythm and intervals alone" in fine["statements"]
    assert blocked["conclusion"] == "abnormal"
    assert "CLBBB" in blocked["codes"].split(";")


def test_codes_and_statements_go_together_rhythm_first():
    made = judge({"heart_rate_bpm": 50.0, "qrs_duration_ms": 130, "qrs_axis_deg": -40.0, "flat_leads": 1}).iloc[0]
    said = {rule.code: rule for rule in rules().rule}
    found = made["codes"].split(";")
    assert made["statements"].split("; ") == [said[code].text for code in found]
    places = [GROUPS.index(said[code].group) for code in found]
    assert places == sorted(places)
    assert found[0] == "SBRAD"


def test_one_rhythm_for_each_ecg():
    """Whatever rate, regularity and P waves are, exactly one rule names the rhythm."""
    rhythms = {"AFIB", "WCT", "SVTAC", "JUNC", "NO_P", "ATRIAL", "SR", "SBRAD", "STACH"}
    rng = np.random.default_rng(5)
    rows = [
        {"heart_rate_bpm": rate, "rr_rmssd_ms": rmssd, "p_present": p, "p_beats_share": share, "p_axis_deg": axis,
         "qrs_duration_ms": qrs}
        for rate, rmssd, p, share, axis, qrs in zip(
            rng.uniform(30, 180, 300), rng.uniform(0, 200, 300), rng.integers(0, 2, 300).astype(float),
            rng.uniform(0, 1, 300), rng.uniform(-180, 180, 300), rng.uniform(80, 150, 300), strict=True)
    ]  # fmt: skip
    assert all(len(found & rhythms) == 1 for found in codes(*rows))


def test_rows_keep_their_index_and_do_not_touch_each_other():
    table = pd.DataFrame([HEALTHY, HEALTHY | {"heart_rate_bpm": 50.0}, HEALTHY], index=[7, 3, 9])
    made = statements(table, np.full(3, np.nan), ["", "", ""])
    assert made.index.tolist() == [7, 3, 9]
    assert made["codes"].tolist() == ["SR", "SBRAD", "SR"]
    assert statements(table.iloc[:0], np.empty(0), []).empty


def test_a_lead_that_was_not_recorded_is_unknown():
    limb_only = pd.DataFrame([HEALTHY, HEALTHY | {"pr_interval_ms": 320.0}])
    limb_only = limb_only.drop(columns=[name for name in HEALTHY if re.search("_v[1-6]", name)])
    made = statements(limb_only, np.full(2, np.nan), ["", ""])
    assert made["conclusion"].tolist() == ["not interpretable", "abnormal"]
    assert made["codes"].str.contains("AMPLITUDES_UNKNOWN").all()


def test_rules_read_only_what_is_measured():
    """A column misspelt would be missing for ever, and its rule silent."""
    made = [each.column.replace("{lead}", lead) for each in rules().derived for lead in LEADS]
    for each in (*rules().pattern, *rules().rule):
        for part in _parts(each.when):
            names = (part.column,) if isinstance(part, Compare) else part.missing if isinstance(part, Missing) else ()
            assert {name.replace("{lead}", "v5") for name in names} <= {*HEALTHY, *made, "age"}
    for each in rules().derived:
        names = {*(each.sum or {}), *(each.max or ()), *(each.min or ()), *(each.ratio or ())}
        assert {name.replace("{lead}", "v5") for name in names} <= {*HEALTHY, *made}


def test_twenty_thousand_rows_take_less_than_a_second():
    rng = np.random.default_rng(1)
    base = pd.DataFrame([HEALTHY])
    table = base.loc[np.zeros(20_000, int)].reset_index(drop=True)
    numbers = [name for name in table if name != "reasons"]
    table[numbers] = table[numbers].astype(float) * rng.normal(1, 0.3, (20_000, len(numbers)))
    rules()
    started = time.process_time()
    made = statements(table, rng.uniform(10, 90, 20_000), ["female", "male"] * 10_000)
    assert time.process_time() - started < 1.0
    assert len(made) == 20_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": np.zeros(2)}, "2 ages and 1 sexes for 1 rows"),
        ({"sex": ["", ""]}, "1 ages and 2 sexes for 1 rows"),
        ({"sex": ["f"]}, "sex is 'f'"),
        ({"table": pd.DataFrame([HEALTHY]).drop(columns="qrs_axis_deg")}, "no column qrs_axis_deg"),
        ({"table": pd.DataFrame([HEALTHY]).drop(columns="reasons")}, "no column reasons"),
    ],
)
def test_wrong_input_is_one_line(change, says):
    given = {"table": pd.DataFrame([HEALTHY]), "age": np.zeros(1), "sex": [""]} | change
    with pytest.raises(RecordError, match=says) as caught:
        statements(**given)
    assert "\n" not in str(caught.value)


RULE = """
[[rule]]
code = "X"
text = "x"
group = "rhythm"
level = "normal"
source = "ours"
when = [{ column = "age", is = "<", value = 1 }]
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('source = "ours"\n', ""), "source"),
        (('source = "ours"\n', 'source = ""\n'), "source"),
        (('text = "x"', 'text = "x; y"'), "text"),
        (('group = "rhythm"', 'group = "other"'), "group"),
        (('level = "normal"', 'level = "fine"'), "level"),
        (("value = 1 }", "value = 1, more = 2 }"), "more"),
        (('is = "<"', 'is = "=="'), "is"),
        (("value = 1 }", 'value = [{ sex = "male", value = 2 }] }'), "last case of age"),
        (('{ column = "age", is = "<", value = 1 }', '{ fired = "Y" }'), "X refers to 'Y'"),
        (('{ column = "age", is = "<", value = 1 }', '{ fired = "X" }'), "X refers to 'X'"),
        (('{ column = "age", is = "<", value = 1 }', ""), "when"),
        (('when = [{ column = "age"', 'unless = ["Z"]\nwhen = [{ column = "age"'), "X refers to 'Z'"),
        (("[[rule]]", '[[derived]]\ncolumn = "a"\nmax = ["b"]\nmin = ["c"]\n[[rule]]'), "a needs one of"),
        (("[[rule]]", '[[derived]]\ncolumn = "a"\nevaluate = "b + c"\n[[rule]]'), "evaluate"),
    ],
)
def test_rules_are_validated(change, says):
    Rules.model_validate(tomllib.loads(RULE))
    assert change[0] in RULE
    with pytest.raises(ValidationError, match=says):
        Rules.model_validate(tomllib.loads(RULE.replace(*change)))


def test_rules_with_one_code_twice_are_refused():
    with pytest.raises(ValidationError, match="X is there twice"):
        Rules.model_validate(tomllib.loads(RULE + RULE))
