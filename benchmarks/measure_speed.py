"""ECGs per second of `measure` beside NeuroKit2's `ecg_delineate(method="dwt")`, and memory as ECGs are streamed.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/measure_speed.py [--number 1000] [--rivals 5] [--repeats 3] [--streamed 2000 20000]

One process, one thread. NeuroKit2 delineates each of the 12 leads of an ECG, around the R peaks that it finds there;
its cleaning and its peak detection are left out of its time. Ours is the whole of `measure`: beats, median beats,
intervals, axes, amplitudes of 12 leads, statements; and, apart, `delineate`, the marks of every beat in every lead.
Runs are interleaved, so that all meet the same machine.
"""

import argparse
import contextlib
import multiprocessing
import platform
import resource
import time
import warnings
from collections.abc import Iterator

import neurokit2 as nk
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ecgveil.ecg import ECGSet
from ecgveil.measure import measure
from ecgveil.measure.delineate import delineate
from ecgveil.simulate import simulate

BLOCK = 64


def blocks(ecgs: ECGSet, number: int) -> Iterator[ECGSet]:
    """`number` ECGs, those of the set over and over, under names of their own."""
    for start in range(0, number, BLOCK):
        rows = [k % len(ecgs) for k in range(start, min(start + BLOCK, number))]
        block = ecgs.take(sorted(set(rows)))
        yield ECGSet(
            ecgs.signal[rows], ecgs.fs, ecgs.leads, tuple(f"{start + i}" for i in range(len(rows))), units=block.units
        )


def neurokit(signal: np.ndarray, fs: float) -> float:
    """Seconds that NeuroKit2 takes to delineate all leads of one ECG, (L, T)."""
    spent = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lead in signal.astype(float):
            clean = nk.ecg_clean(lead, sampling_rate=int(fs))
            peaks = nk.ecg_peaks(clean, sampling_rate=int(fs))[1]["ECG_R_Peaks"]
            began = time.perf_counter()
            with contextlib.suppress(ZeroDivisionError):  # it found no beat in this lead
                nk.ecg_delineate(clean, peaks, sampling_rate=int(fs), method="dwt")
            spent += time.perf_counter() - began
    return spent


def seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def compare_speed(number: int, rivals: int, repeats: int) -> None:
    one_thread()
    ecgs, _ = simulate(number, seed=1)
    few = ecgs.take(range(min(number, 2 * BLOCK)))
    measure(few.take(range(2)))  # what is loaded once is not part of it
    delineate(few.take(range(2)))
    neurokit(ecgs.signal[0, :1], ecgs.fs)
    ours, marks, theirs = [], [], []
    for run in range(repeats):
        ours.append(seconds(lambda: measure(ecgs)) / len(ecgs))
        theirs += [neurokit(signal, ecgs.fs) for signal in ecgs.signal[run * rivals : (run + 1) * rivals]]
        marks.append(seconds(lambda: delineate(few)) / len(few))
    print(f"{number} simulated 12-lead ECGs, 10 s, 500 Hz; {platform.machine()}, 1 thread, NeuroKit2 {nk.__version__}")
    rates = ", ".join(f"{1 / each:.0f}" for each in ours)
    print(f"measure: {1 / np.median(ours):.0f} ECGs a second ({np.median(ours) * 1e3:.1f} ms each; runs: {rates})")
    print(f"delineate, every beat in every lead: {1 / np.median(marks):.0f} ECGs a second")
    print(f"NeuroKit2 dwt, 12 leads: {np.median(theirs):.2f} s an ECG ({len(theirs)} ECGs)")
    ratio = np.median(theirs) / np.median(ours)
    print(f"NeuroKit2 / measure: {ratio:.0f}; NeuroKit2 / delineate: {np.median(theirs) / np.median(marks):.0f}")
    passes = "PASS" if 1 / np.median(ours) >= 100 and ratio >= 50 else "short"
    print(f"at least 100 a second and 50 times NeuroKit2: {passes}")


def stream(number: int, answer) -> None:
    """Measure `number` ECGs a block at a time, keeping the rows; answers (rows, peak memory, of it the rows' MiB)."""
    one_thread()
    ecgs, _ = simulate(4 * BLOCK, seed=1)
    parts = [measure(block) for block in blocks(ecgs, number)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux gives KiB
    held = sum(part.memory_usage(deep=True).sum() for part in parts) / 2**20
    answer.put((sum(map(len, parts)), peak, held))


def compare_memory(numbers: list[int]) -> None:
    context = multiprocessing.get_context("spawn")  # a process of its own: the peak is never given back
    peaks = []
    for number in numbers:
        answer = context.Queue()
        process = context.Process(target=stream, args=(number, answer))
        process.start()
        n, peak, rows = answer.get()
        process.join()
        peaks.append(peak - rows)
        print(f"{n} ECGs streamed: peak {peak:.0f} MiB, of it the rows {rows:.0f} MiB", flush=True)
    if len(peaks) > 1:
        growth = peaks[-1] - peaks[0]
        print(f"without the rows, growth from {numbers[0]} to {numbers[-1]}: {growth:+.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--rivals", type=int, default=5, help="ECGs for NeuroKit2 in each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--streamed", type=int, nargs="*", default=[2000, 20_000])
    args = parser.parse_args()
    compare_memory(args.streamed)  # first: a new process takes over its parent's peak as the least its own can be
    compare_speed(args.number, args.rivals, args.repeats)


if __name__ == "__main__":
    main()
