"""The E-model against a second implementation of it, over a grid of everything that goes in.

Written from the Recommendation's formulas (ITU-T G.107, 06/2015), not from the C: only parameters within the
ranges of its table 2. SPDX-License-Identifier: BSD-3-Clause
"""
import itertools
import math
import os
import random
import subprocess

from soridaemon import BUILD

GRID = os.path.join(BUILD, "tests/lib/emodel_grid")
# name: default, then the range of table 2 (st, mt: of the delay sensitivity classes of its table 1)
PARAMETERS = {
    "SLR": (8, 0, 18), "RLR": (2, -5, 14), "STMR": (15, 10, 20), "LSTR": (18, 13, 23), "Ds": (3, -3, 3), "Dr": (3, -3, 3),
    "TELR": (65, 5, 65), "WEPL": (110, 5, 110), "T": (0, 0, 500), "Tr": (0, 0, 1000), "Ta": (0, 0, 500),
    "qdu": (1, 1, 14), "Ie": (0, 0, 40), "Bpl": (4.3, 4.3, 40), "Ppl": (0, 0, 20), "BurstR": (1, 1, 8),
    "Nc": (-70, -80, -40), "Nfor": (-64, -64, -64), "Ps": (35, 35, 85), "Pr": (35, 35, 85), "A": (0, 0, 20),
    "sT": (1, 0.4, 1), "mT": (100, 100, 150),
}
DEFAULTS = {name: v[0] for name, v in PARAMETERS.items()}


def lg(x):
    return math.log10(x)


def rating(p):
    olr = p["SLR"] + p["RLR"]
    # basic signal-to-noise ratio, 7.2
    pre = p["Pr"] + 10 * lg(1 + 10 ** ((10 - p["LSTR"]) / 10))
    noises = (p["Nc"],
              p["Ps"] - p["SLR"] - p["Ds"] - 100 + 0.004 * (p["Ps"] - olr - p["Ds"] - 14) ** 2,
              p["RLR"] - 121 + pre + 0.008 * (pre - 35) ** 2,
              p["Nfor"] + p["RLR"])
    no = 10 * lg(sum(10 ** (n / 10) for n in noises))
    ro = 15 - 1.5 * (p["SLR"] + no)
    # simultaneous impairment, 7.3
    xolr = olr + 0.2 * (64 + no - p["RLR"])
    iolr = 20 * ((1 + (xolr / 8) ** 8) ** (1 / 8) - xolr / 8)
    stmro = -10 * lg(10 ** (-p["STMR"] / 10) + math.exp(-p["T"] / 4) * 10 ** (-p["TELR"] / 10))
    ist = (12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8) - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
           - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13) + 29)
    q = 37 - 15 * lg(p["qdu"])
    g = 1.07 + 0.258 * q + 0.0602 * q ** 2
    iq = 15 * lg(1 + 10 ** ((ro - 100) / 15 + 46 / 8.4 - g / 9) + 10 ** (46 / 30 - g / 40))
    # delay impairment, 7.4
    terv = p["TELR"] - 40 * lg((1 + p["T"] / 10) / (1 + p["T"] / 150)) + 6 * math.exp(-0.3 * p["T"] ** 2)
    if p["STMR"] < 9:
        terv += ist / 2
    half = (-1.5 * (no - p["RLR"]) - (80 + 2.5 * (terv - 14))) / 2
    idte = (half + math.sqrt(half ** 2 + 100) - 1) * (1 - math.exp(-p["T"]))
    if p["STMR"] > 20:
        idte = math.hypot(idte, ist)
    half = (ro - 10.5 * (p["WEPL"] + 7) * (p["Tr"] + 1) ** -0.25) / 2
    idle = half + math.sqrt(half ** 2 + 169)
    idd = 0.0
    if p["Ta"] > p["mT"]:
        x, e = math.log(p["Ta"] / p["mT"], 2), 6 * p["sT"]
        idd = 25 * ((1 + x ** e) ** (1 / e) - 3 * (1 + (x / 3) ** e) ** (1 / e) + 2)
    # equipment, 7.5
    ie_eff = p["Ie"] + (95 - p["Ie"]) * p["Ppl"] / (p["Ppl"] / p["BurstR"] + p["Bpl"])
    return min(100.0, max(0.0, ro - (iolr + ist + iq) - (idte + idle + idd) - ie_eff + p["A"]))


def mos(r):  # annex B, without its dip below 1
    return min(4.5, max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6))


def path_rating(codec, bps, loss, burst, delay, copies):
    """The codec table: G.113 appendix I, and the published fit for Opus."""
    def at(ie, bpl, band):
        r = {**DEFAULTS, "T": delay, "Ta": delay, "Tr": 2 * delay}
        if band == "narrow":
            return rating({**r, "Ie": ie, "Bpl": bpl, "Ppl": ppl, "BurstR": burst})
        top, scale = {"wide": (95, 1.29), "full": (132, 1.48)}[band]
        off = (ie + (top - ie) * ppl / (ppl / burst + bpl)) / scale
        return min(100.0, max(0.0, 100 - off - (rating(DEFAULTS) - rating(r))))

    # a lost packet stays lost when the next ones of its run, that carry it, are lost as well
    ppl = 100 * loss * (1 - (1 - loss) / burst) ** copies
    itu = [(0, 4.3), (0, 25.1), (11, 19.0), (15, 16.1), (5, 10.0)]
    if codec < len(itu):
        return at(*itu[codec], "narrow")
    opus = [(6000, 23.0, 24.6, "narrow"), (9000, 11.74, 18.91, "narrow"), (13000, 19.96, 19.50, "wide"),
            (22000, 20.22, 10.47, "full"), (28000, 18.48, 10.63, "full"), (34000, 14.76, 10.12, "full"),
            (40000, 10.67, 9.79, "full")]
    bps = min(max(bps or 32000, opus[0][0]), opus[-1][0])
    for low, high in zip(opus, opus[1:]):
        if low[0] <= bps <= high[0]:
            share = (bps - low[0]) / (high[0] - low[0])
            return (1 - share) * at(*low[1:]) + share * at(*high[1:])
    raise AssertionError(bps)


def compare(lines, expected):
    out = subprocess.run([GRID], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=True).stdout
    got = [tuple(map(float, line.split())) for line in out.splitlines()]
    assert len(got) == len(expected)
    for line, (r, m), want in zip(lines, got, expected):
        assert abs(r - want) < 1e-6 and abs(m - mos(want)) < 1e-6, (line, r, want)


def test_the_printed_points():
    assert abs(rating(DEFAULTS) - 93.206) < 0.001
    for delay, r in ((50, 91.76), (150, 89.54), (200, 85.80), (400, 62.25)):
        assert abs(rating({**DEFAULTS, "T": delay, "Ta": delay, "Tr": 2 * delay}) - r) < 0.05
    assert abs(path_rating(1, 0, 0.01, 1, 150, 0) - 85.90) < 0.05


def test_all_parameters_over_a_grid():
    rnd = random.Random(107)
    sets = []
    for a, b in itertools.combinations(PARAMETERS, 2):  # each against each at the ends and in the middle
        for x, y in itertools.product((0, 0.5, 1), repeat=2):
            p = dict(DEFAULTS)
            for name, share in ((a, x), (b, y)):
                low, high = PARAMETERS[name][1:]
                p[name] = low + share * (high - low)
            sets.append(p)
    for _ in range(10_000):
        sets.append({name: rnd.uniform(low, high) for name, (_, low, high) in PARAMETERS.items()})
    compare([" ".join(["g", *(repr(float(v)) for v in p.values())]) for p in sets], [rating(p) for p in sets])


def test_codecs_over_a_grid():
    sets = list(itertools.product(range(6), (0, 4000, 6000, 7500, 13000, 20000, 28000, 37000, 64000),
                                  (0, 0.001, 0.01, 0.03, 0.1, 0.3, 1), (1, 1.5, 4, 8), (0, 60, 150, 320, 900), (0, 1, 2)))
    compare([" ".join(["p", *map(str, s)]) for s in sets], [path_rating(*s) for s in sets])
