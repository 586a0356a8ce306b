"""The reports of the smaller experiments: against values worked by hand."""

from itertools import compress

import matplotlib.pyplot as plt
import pytest

from qdt_rl.experiments.grids import (
    ABLATION,
    ALIKE,
    CATASTROPHE,
    CREDIT,
    FOLDED,
    GRIDS,
    MECHANISM,
    ONLINE,
    PLATEAU,
    PRECISION,
    REPLAY,
    SENSITIVITY,
    ablation_cell,
)
from qdt_rl.experiments.reports.ablation import ablation_page
from qdt_rl.experiments.reports.catastrophe import catastrophe_page
from qdt_rl.experiments.reports.credit import credit_page
from qdt_rl.experiments.reports.folded import folded_page
from qdt_rl.experiments.reports.mechanism import mechanism_page
from qdt_rl.experiments.reports.online import online_page
from qdt_rl.experiments.reports.outcomes import Outcomes, settings_of
from qdt_rl.experiments.reports.plateau import plateau_page
from qdt_rl.experiments.reports.precision import precision_page
from qdt_rl.experiments.reports.sensitivity import sensitivity_page
from qdt_rl.experiments.reports.writing import REPORTS
from tests.experiments.reports.synthetic import BEST, outcomes_of, record_of, rows


def beside(cells, agents):
    """The ablation's runs that cells are compared with."""
    return {ablation_cell(cell, agent): None for cell in cells for agent in agents}


def test_sensitivity_pairs_each_level_with_the_default_of_its_seed():
    def mean(cell):
        level = settings_of(cell).get("entanglement_strength", 0.3)
        return 10.0 * (cell.seed - SENSITIVITY[0].seed) + level

    cells = [*SENSITIVITY, *beside(SENSITIVITY, ("qdt", "dt", "wide-dt", "q-attention"))]
    table = rows(sensitivity_page(SENSITIVITY, outcomes_of(cells, mean)).text)
    strengths = [row for row in table if row[0] == "α_e"]
    assert [row[1] for row in strengths] == ["0", "0.1", "0.3 (default)", "0.5", "1", "3"]
    assert strengths[-1][2:] == [
        "`qdt`",
        "3 of 3",
        "13 (3 to 23)",
        "13 (3 to 23)",
        "1798.87 (1798.87 to 1798.87)",  # the trace's mean is ½ (1 + 1/2 + … + 1/20)
        "+3 (+3 to +3)",  # 3 − 0.3
        "+3 (+3 to +3)",
        "+0.00 (+0.00 to +0.00)",
    ]
    assert strengths[2][-3:] == ["–", "–", "–"]
    channels = [row[1] for row in table if row[0] == "channels n"]
    assert channels == ["1", "2", "3 (default)", "4", "8"]
    rates = [row[1:3] for row in table if row[0] == "learning rate" and len(row) == 10]
    assert rates == [
        [value, f"`{agent}`"]
        for agent in ("dt", "wide-dt", "qdt")
        for value in ("0.0001", "0.0003 (default)", "0.0009", "0.003")
    ]


def test_sensitivity_shows_a_line_of_the_seeds_that_all_its_levels_share():
    """The defaults have run with all seeds, 100 better by the seed, and the levels with the first alone."""
    first = SENSITIVITY[0].seed
    cells = [cell for cell in SENSITIVITY if cell.seed == first]
    cells += beside(SENSITIVITY, ("qdt", "dt", "wide-dt", "q-attention"))
    page = sensitivity_page(SENSITIVITY, outcomes_of(cells, lambda cell: 100.0 * (cell.seed - first)))
    found = rows(page.text)
    assert {row[5] for row in found if len(row) == 10 and row[3] == "1 of 3"} == {"0"}
    assert {row[3] for row in found if len(row) == 10} == {"seeds", "---:", "1 of 3"}
    assert all(values.tolist() == [0.0] for panel in page.figures["factors"] for values in points(panel))


def test_sensitivity_pairs_agents_at_each_learning_rate():
    """QDT is 7 ahead of DT at its default, and 1 behind at every other rate."""

    def mean(cell):
        at_default = "learning_rate" not in settings_of(cell)
        return {"qdt": 7.0 if at_default else -1.0}.get(cell.variant, 0.0) + cell.seed

    cells = [*SENSITIVITY, *beside(SENSITIVITY, ("qdt", "dt", "wide-dt", "q-attention"))]
    table = rows(sensitivity_page(SENSITIVITY, outcomes_of(cells, mean)).text)
    pairs = {(row[0], row[1]): row[2:] for row in table if len(row) == 6}
    assert pairs["0.0003", "`qdt` − `dt`"][:3] == ["3 of 3", "+7 (+7 to +7)", "+7 (+7 to +7)"]
    assert pairs["0.003", "`qdt` − `wide-dt`"][:3] == ["3 of 3", "-1 (-1 to -1)", "-1 (-1 to -1)"]


def test_agents_are_compared_on_the_same_seeds_at_all_learning_rates():
    """Other rates have run with the first seed alone, where QDT is 100 behind at the default."""
    first = SENSITIVITY[0].seed
    cells = [cell for cell in SENSITIVITY if cell.seed == first]
    cells += beside(SENSITIVITY, ("qdt", "dt", "wide-dt"))
    table = rows(
        sensitivity_page(
            SENSITIVITY,
            outcomes_of(cells, lambda cell: -100.0 * (cell.variant == "qdt") * (cell.seed == first)),
        ).text
    )
    pairs = {(row[0], row[1]): row[2:] for row in table if len(row) == 6}
    assert pairs["0.0003", "`qdt` − `dt`"] == ["1 of 3", "-100", "-100", "+0.00"]


def test_sensitivity_tells_what_chance_does():
    """Of ten seeds 0 … 9 the deviation is √(82.5 / 9); without entanglement QDT is 4 above Q-feedforward."""
    cells = [*SENSITIVITY, *beside(SENSITIVITY, ("q-feedforward",))]
    cells += [cell for cell in ABLATION if cell.variant == "qdt"]
    text = sensitivity_page(
        SENSITIVITY,
        outcomes_of(
            cells, lambda cell: cell.seed + 4.0 * (settings_of(cell).get("entanglement_strength") == 0)
        ),
    ).text
    assert "the default's 10 seeds in the ablation have a standard deviation of 3 around 4" in text
    assert "apart from it by +4 (+4 to +4) after 500 updates, +4 (+4 to +4) at the end" in text
    assert "What chance does" not in sensitivity_page(SENSITIVITY, Outcomes([])).text


def test_a_loss_is_that_of_runs_which_did_not_diverge():
    cells = [*SENSITIVITY, *beside(SENSITIVITY, ("qdt",))]
    records = [record_of(cell, 0.0) for cell in cells]
    for record, cell in zip(records, cells, strict=True):
        if settings_of(cell) == {"learning_rate": 3e-3} and cell.variant == "qdt":
            record["diverged"] = "Divergence at update 7: the loss is not finite"
    table = rows(sensitivity_page(SENSITIVITY, Outcomes(records)).text)
    (fast,) = (row for row in table if row[1:3] == ["0.003", "`qdt`"])
    assert (fast[3], fast[5], fast[6], fast[9]) == ("3 of 3", "0 (0 to 0)", "–", "–")


def points(panel):
    return [values for line in panel.lines.values() for values in line.values()]


def test_sensitivity_leaves_out_and_counts_what_is_missing():
    first = SENSITIVITY[0].seed
    cells = [cell for cell in SENSITIVITY if cell.seed == first]
    cells += beside(SENSITIVITY[:1], ("qdt", "dt"))
    page = sensitivity_page(SENSITIVITY, outcomes_of(cells, lambda cell: 1.0))
    assert {row[3] for row in rows(page.text) if row[0] == "α_e"} == {"1 of 3"}
    n = len(SENSITIVITY) + 3 * 4  # and the ablation's runs of four agents, 3 seeds
    assert f"**{n - len(cells)} of {n} runs are missing.**" in page.text
    of_qdt = [row for row in rows(page.text) if len(row) == 10 and row[2] == "`qdt`"]
    assert {row[3] for row in of_qdt if row[0] == "learning rate"} == {"1 of 3"}
    empty = sensitivity_page(SENSITIVITY, Outcomes([]))
    assert f"**{n} of {n} runs are missing.**" in empty.text
    assert empty.figures == {}


def test_a_reading_fails_alone_if_it_keeps_less_than_half_of_its_score_and_dt_does_not():
    """Scores: as they are (50 + 50) / 2 = 50; a run at 0 has 25, one at −1 has 24.5, one at −52 has −1."""
    levels = {"no-residual": -1.0, "across-tokens": 0.0}

    def mean(cell):
        agent, _, change = cell.variant.partition("+")
        if change == "raw-observations":  # DT alone fails, in one seed
            return -50.0 if agent == "dt" and cell.seed else 50.0
        if change == "raw-returns":  # fails in one seed of two
            return 50.0 if cell.seed else -50.0
        if change == "no-causal-mask":  # both fall below random actions, Q-attention further
            return -54.0 if agent == "q-attention" else -52.0
        if settings_of(cell) == {"learning_rate": 1e-2}:  # both fall, Q-attention to a third of the other
            return -40.0 if agent == "q-attention" else -20.0
        if settings_of(cell) == {"warmup_steps": 0}:  # DT keeps just half of its own
            return -40.0 if agent == "q-attention" else 0.0
        return levels.get(change, 50.0)

    cells = [*CATASTROPHE, *beside(CATASTROPHE, ("q-attention", "dt"))]
    table = {row[0]: row for row in rows(catastrophe_page(CATASTROPHE, outcomes_of(cells, mean)).text)}
    assert table["no residual"][1:] == [
        "2 of 2",
        "-1 (-1 to -1)",
        "-51 (-51 to -51)",
        "50 (50 to 50) [2]",
        "-51 (-51 to -51)",
        "49 (49 to 49)",
        "**fails alone**",
    ]
    assert table["no causal mask"][-4:] == [
        "-52 (-52 to -52) [2]",
        "-2 (-2 to -2)",
        "-4 (-4 to -4)",
        "fails, and so does `dt`",
    ]
    assert table["learning rate 0.01"][-1] == "fails, and so does `dt`"
    assert table["no warm-up"][-1] == "**fails alone**"
    assert table["across tokens"][-2:] == ["50 (50 to 50)", "stands"]
    assert table["raw returns"][-2] == "50 (0 to 100)"
    assert table["no clipping"][-1] == "stands"
    assert "no warm-up, no clipping, learning rate 0.01" in table
    assert table["raw returns"][-1] == "mixed: 1 of 2 fail, of `dt` 1"
    assert table["raw observations"][-1] == "stands"


def test_nothing_is_said_of_a_reading_before_all_its_seeds_have_run():
    cells = [*CATASTROPHE[1:], *beside(CATASTROPHE, ("q-attention", "dt"))]
    outcomes = [record_of(cell, 50.0) for cell in cells]
    outcomes[0]["diverged"] = "Divergence at update 7: the loss is not finite"
    outcomes[1]["failed"] = "Traceback\nValueError: no"
    text = catastrophe_page(CATASTROPHE, Outcomes(outcomes)).text
    assert f"**1 of {len(CATASTROPHE) + 4} runs are missing.**" in text
    assert "- diverged: `q-attention+across-tokens`" in text
    assert (
        "- failed: `q-attention+no-causal-mask`, qdt/synthetic/medium-replay-v0, seed 0: `ValueError: no`"
        in text
    )
    table = {row[0]: row for row in rows(text)}
    assert table["no residual"][1] == table["no causal mask"][1] == "1 of 2"
    assert table["no residual"][-1] == table["no causal mask"][-1] == "open"
    assert table["across tokens"][-1] == "stands, 1 diverged"


def test_a_reading_is_shown_before_dt_has_been_run_with_it():
    cells = [cell for cell in CATASTROPHE if cell.variant.partition("+")[0] == "q-attention"]
    cells += beside(CATASTROPHE, ("q-attention", "dt"))
    page = catastrophe_page(CATASTROPHE, outcomes_of(cells, lambda cell: -50.0 * ("+" in cell.variant)))
    table = {row[0]: row for row in rows(page.text)}
    same = "-50 (-50 to -50)"  # the return, and its difference from 0
    assert table["raw returns"][1:] == ["2 of 2", same, same, "– [0]", "–", "0 (0 to 0)", "open"]
    assert table["no residual"][-1] == "**fails alone**"


def test_dt_is_shown_before_q_attention_has_been_run():
    cells = [cell for cell in CATASTROPHE if cell.variant.partition("+")[0] == "dt"]
    cells += beside(CATASTROPHE, ("q-attention", "dt"))
    table = {
        row[0]: row for row in rows(catastrophe_page(CATASTROPHE, outcomes_of(cells, lambda cell: 7.0)).text)
    }
    assert table["no clipping"][1:] == ["0 of 2", "–", "–", "7 (7 to 7) [2]", "–", "–", "open"]


def test_credit_tells_what_is_kept_of_the_undelayed_score():
    """Undelayed 50 (score 50); delayed by 50: 0 (25, half); by 200: −25 (12.5, a quarter)."""

    def mean(cell):
        return {"-delayed": 0.0, "-delayed-200": -25.0}.get(
            cell.dataset.split("/")[1].removeprefix("synthetic"), 50.0
        )

    table = rows(credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean)).text)
    delays = {tuple(row[:3]): row[3:] for row in table if len(row) == 9}
    assert delays["20", "`dt`", "50"] == [
        "5 of 5",
        "5",
        "50 (50 to 50)",
        "0 (0 to 0)",
        "-50 (-50 to -50)",
        "50 (50 to 50)",
    ]
    assert delays["20", "`wide-dt`", "200"][-1] == "25 (25 to 25)"
    assert delays["5", "`qdt`", "50"][0] == "3 of 3"
    assert ("none", "`bc`", "50") in delays
    assert {key[0] for key in delays if key[1] == "`dt`"} == {"5", "20", "50"}


def test_credit_compares_what_a_delay_costs_by_the_seed():
    """The delay costs DT 10 more than QDT, in each seed; wide-dt 3 less."""
    costs = {"dt": 30.0, "qdt": 20.0, "wide-dt": 17.0}

    def mean(cell):
        is_delayed = "delayed" in cell.dataset
        return 50.0 + 5 * cell.seed - costs.get(cell.variant, 0.0) * is_delayed

    table = rows(credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean)).text)
    contrasts = {(*row[:2], row[4]): (*row[2:4], row[5]) for row in table if len(row) == 6}
    assert contrasts["20", "50", "`dt`"] == ("5 of 5", "5", "+10 (+10 to +10)")
    assert contrasts["20", "200", "`wide-dt`"] == ("5 of 5", "5", "-3 (-3 to -3)")
    assert contrasts["50", "50", "`dt`"] == ("3 of 3", "3", "+10 (+10 to +10)")
    assert ("50", "50", "`wide-dt`") not in contrasts  # not planned


def test_what_a_delay_costs_is_drawn_of_the_seeds_of_its_row():
    """Delays of 50 and 200 have other seeds; each point is less by its delay than the undelayed run."""

    def mean(cell):
        return 1000.0 * cell.seed - {"-delayed": 50.0, "-delayed-200": 200.0}.get(
            cell.dataset.split("/")[1].removeprefix("synthetic"), 0.0
        )

    panels = credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean)).figures["delays"]
    (usual,) = (panel for panel in panels if panel.title == "context of 20")
    for line in usual.lines.values():
        assert {delay: values.tolist() for delay, values in line.items()} == {
            50: [-50.0] * 5,
            200: [-200.0] * 5,
        }


def test_contexts_are_drawn_of_all_seeds_that_were_run():
    """Of the shared ones alone, those that decided about a context of 50 would be left out."""

    def mean(cell):
        return 100.0 * cell.seed + settings_of(cell).get("context_length", 20)

    page = credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean))
    (panel,) = page.figures["contexts"]
    drawn = {context: returns.tolist() for context, returns in panel.lines["qdt"].items()}
    assert drawn[5] == [5.0, 105.0, 205.0]
    assert drawn[20] == [100.0 * seed + 20 for seed in range(10)]
    assert drawn[50] == [100.0 * seed + 50 for seed in (0, 1, 2, 5, 6, 7, 8, 9)]
    assert sorted(panel.levels) == ["bc, 10 seeds", "bc-10%, 10 seeds"]


def test_what_memory_is_worth_is_told_from_what_asking_for_a_return_is_worth():
    """Asking brings 40 at any context, and memory 2 for each timestep more than one."""

    def mean(cell):
        if cell.variant.startswith("bc"):
            return 0.0
        return 40.0 + 2 * (settings_of(cell).get("context_length", 20) - 1)

    before, _, after = credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean)).text.partition(
        "### Hidden"
    )
    contexts = {tuple(row[:2]): row[2:6] for row in rows(before) if len(row) == 8}  # of rewards 50 steps late
    assert {context for agent, context in contexts if agent == "`qdt`"} == {"5", "20", "50"}
    asked, memory = "+138 (+138 to +138)", "+60 (+60 to +60)"
    assert contexts["`dt`", "50"] == ["3 of 3", "138 (138 to 138)", asked, memory]
    assert contexts["`dt`", "20"][-1] == "–"
    assert contexts["`bc`", "none"][-2:] == ["+0 (+0 to +0)", "–"]
    hidden = {tuple(row[:2]): row[:-1] for row in rows(after) if len(row) == 8}
    assert {context for agent, context in hidden if agent == "`qdt`"} == {"1", "5", "20"}
    assert hidden["`dt`", "1"][-3:-1] == ["+40 (+40 to +40)", "–"]
    assert hidden["`qdt`", "20"][-3:-1] == ["+78 (+78 to +78)", "+38 (+38 to +38)"]
    assert hidden["`wide-dt`", "20"][-2] == "–"  # not run at a context of 1
    assert hidden["`bc`", "none"][-3:] == ["–", "–", "25.0"]


def test_whether_qdt_is_ahead_with_a_longer_context_is_judged_by_the_seeds_that_did_not_raise_the_question():
    """In points, with 50: 50 behind in seeds 0 to 2, and 8, 9, 10, 11, 12 ahead in 5 to 9; with 20: 10."""

    def mean(cell):
        if cell.variant != "qdt":
            return 0.0
        if "context_length" not in settings_of(cell):
            return 20.0
        return 20.0 + 2 * (cell.seed - 7) if cell.seed in ALIKE else -100.0

    def reverse(cell):
        return -mean(cell)

    text = credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], mean)).text.partition("### Is QDT ahead")[2]
    leads = {tuple(row[:2]): row[2:] for row in rows(text.partition("### Hidden")[0])}
    assert leads["50", "`qdt` − `dt`"][0] == "8 of 8"
    assert leads["50", "`qdt` − `dt`"][1].startswith("-50.0 (0), -50.0 (1), -50.0 (2), +8.0 (5)")
    alone = ["+10.0 (+8.0 to +12.0)", "confirmed", "5 of 5"]  # 2.776 · 0.707 = 1.96
    assert leads["50", "`qdt` − `dt`"][3:] == [*alone, "+0.0 (-2.0 to +2.0)", "undecided"]
    reversed_text = credit_page(CREDIT, outcomes_of([*CREDIT, *ABLATION], reverse)).text
    assert "| -10.0 (-12.0 to -8.0) | contradicted | 5 of 5 |" in reversed_text
    assert leads["50", "`qdt` − `wide-dt`"][:1] + leads["50", "`qdt` − `wide-dt`"][3:6] == ["5 of 5", *alone]
    assert leads["20", "`qdt` − `dt`"][-2:] == ["–", "–"]
    assert leads["5", "`qdt` − `dt`"][3:5] == ["–", "undecided"]  # of none of the seeds that judge
    assert ("5", "`qdt` − `wide-dt`") not in leads  # not planned


def test_the_plateau_tells_what_further_updates_bring():
    """At 6,000 updates an eighth more than at 2,000 (the records' own), and QDT 40 above DT at both."""
    outcomes = outcomes_of(PLATEAU, lambda cell: 1000.0 + 40 * (cell.variant == "qdt") + cell.seed)
    text = plateau_page(PLATEAU, outcomes).text
    assert text.count("Random actions return -50, the expert 150.") == 2
    assert "nan" not in plateau_page(PLATEAU, Outcomes([])).text
    table = rows(text)
    qdt_dt = [row for row in table if row[0] == "`qdt` − `dt`"]
    assert len(qdt_dt) == 2
    assert qdt_dt[0][1:] == ["2 of 2", "+40 (+40 to +40)", "+40 (+40 to +40)", "+0 (+0 to +0)", "–"]
    (dt, *_) = [row for row in table if row[0] == "`dt`"]
    assert (
        dt[-1] == "1798.87 (1798.87 to 1798.87)"
    )  # 10 / 1, 10 / 2, … 10 / 20: 10 · H(20) / 20, in thousandths


def test_folded_pairs_three_agents_by_seed():
    levels = {"qdt": 5.0, "wide-dt+folded-start": 3.0, "wide-dt": 2.0}
    cells = [*FOLDED, *beside(FOLDED, ("qdt", "wide-dt"))]
    page = folded_page(FOLDED, outcomes_of(cells, lambda cell: levels[cell.variant] + cell.seed))
    table = {row[0]: row for row in rows(page.text)}
    assert table["`qdt` − `wide-dt+folded-start`"][1::3] == ["10", "+2 (+2 to +2)"]
    assert table["`wide-dt+folded-start` − `wide-dt`"][1::3] == ["10", "+1 (+1 to +1)"]
    assert "that of `wide-dt+folded-start` by at most 0.0e+00 of it (10 seeds), and that of" in page.text


def test_folded_intervals_are_students():
    """QDT is ahead by 1 in half of ten seeds, and by 3 in the others: 2 ± 2.262 · √(10 / 9) / √10."""
    cells = [*FOLDED, *beside(FOLDED, ("qdt", "wide-dt"))]
    page = folded_page(
        FOLDED, outcomes_of(cells, lambda cell: (cell.variant == "qdt") * 100.0 * (1 + 2 * (cell.seed % 2)))
    )
    table = {row[0]: row for row in rows(page.text)}
    assert table["`qdt` − `wide-dt+folded-start`"][4] == "+200 (+125 to +275)"


def test_folded_compares_what_has_been_run():
    """The last run of ``wide-dt`` is missing, then all of them, then all of those from the folded start."""
    cells = [*FOLDED, *beside(FOLDED, ("qdt", "wide-dt"))]
    records = [record_of(cell, 0.0) for cell in cells]
    records[0]["loss"][0] *= 1.5
    counts = {row[0]: (row[1], row[-1]) for row in rows(folded_page(FOLDED, Outcomes(records[:-1])).text)[2:]}
    assert set(counts.values()) == {("9", "9")}  # so that the two shares add up to the whole
    assert len(counts) == 6
    plain = [cell.variant != "wide-dt" for cell in cells]
    without = folded_page(FOLDED, Outcomes(list(compress(records, plain))))
    assert [row[0] for row in rows(without.text)][2:] == [
        "`qdt`",
        "`wide-dt+folded-start`",
        "`qdt` − `wide-dt+folded-start`",
    ]
    assert "that of `wide-dt+folded-start` by at most 5.0e-01 of it (10 seeds).\n" in without.text
    assert rows(folded_page(FOLDED, Outcomes(records[10:])).text) == []


def test_online_agents_stand_beside_the_bound():
    cells = [*ONLINE, *beside(ONLINE, ("dt", "qdt", "bc-10%"))]
    table = rows(online_page(ONLINE, outcomes_of(cells, lambda cell: 50.0)).text)
    assert ["`PPO`", "400,000 steps", "3 of 3", "50 (50 to 50)", "50.0", "1.0 (some)"] in table
    assert ["bound", "–", "–", "4000", "2025.0", "–"] in table


def test_mechanism_follows_what_was_measured():
    def measured(cell):
        n_channels = 0 if cell.variant == "q-attention" else 3
        return [
            {
                "n_updates": n,
                "interference_weights": [[0.2, 0.5, 0.3]] * 3 if n_channels else [],
                "channel_similarity": [0.1 + n / 4000] * 3 if n_channels else [],
                "channel_cosine": [-0.5] * 3 if n_channels else [],
                "singular_values": [[3.0, 2.0, 1.0]] * 3,
                "entanglement_norm": [0.25 if cell.variant != "q-feedforward" else None] * 3,
            }
            for n in (1, 2000)
        ]

    records = [record_of(cell, 0.0, mechanism=measured(cell)) for cell in MECHANISM]
    page = mechanism_page(MECHANISM, Outcomes(records))
    table = {(row[0], row[1]): row[2:] for row in rows(page.text)}
    assert table["`qdt`", "1"] == [
        "2 of 2",
        "1 → 2,000",
        "0.100 → 0.600 (0.600 to 0.600)",
        "-0.500 → -0.500 (-0.500 to -0.500)",
        "0.5000 / 0.3000 / 0.2000",
        "0.250 → 0.250 (0.250 to 0.250)",
        "3.000 → 3.000 (3.000 to 3.000)",
    ]
    assert table["`q-feedforward`", "3"][5] == table["`q-attention`", "3"][2] == "–"
    assert ("`dt`", "1") not in table
    (dt,) = (cell for cell in beside(MECHANISM[:1], ("dt",)))
    for record in records:
        record["mechanism"].insert(1, {**record["mechanism"][0], "n_updates": 250})
    of_dt = record_of(dt, 0.0, mechanism=records[2]["mechanism"][1:])
    with_dt = rows(mechanism_page(MECHANISM, Outcomes([*records, of_dt])).text)
    assert {(row[0], row[3]) for row in with_dt if row[0] in ("`dt`", "`qdt`")} == {
        ("`dt`", "250 → 2,000"),
        ("`qdt`", "1 → 2,000"),
    }
    records[1].pop("mechanism")  # records of before it was measured
    (cell,) = (cell for cell in MECHANISM if cell.key() == records[1]["key"])
    fewer = rows(mechanism_page(MECHANISM, Outcomes(records)).text)
    assert {row[2] for row in fewer if row[0] == f"`{cell.variant}`"} == {"1 of 2"}
    records = [record_of(cell, 0.0, mechanism=measured(cell)) for cell in MECHANISM[:3]]
    records += [record_of(cell, 0.0, mechanism=measured(cell)) for cell in beside(MECHANISM, ("dt",))]
    one_seed = rows(mechanism_page(MECHANISM, Outcomes(records)).text)
    assert {row[2] for row in one_seed if row[0] == "`dt`"} == {"1 of 1"}, "only the seeds that were run"


def test_the_ablation_shows_what_was_measured_inside():
    entry = {
        "interference_weights": [],
        "channel_similarity": [],
        "singular_values": [[2.0, 1.0]],
        "entanglement_norm": [None],
    }
    cells = [cell for cell in ABLATION if cell.dataset == REPLAY and cell.seed == 0]
    losses = {"dt": 0.4, "q-attention": 0.41, "q-feedforward": 0.42, "qdt": 0.44, "wide-dt": 0.45}
    records = [
        record_of(
            cell,
            0.0,
            mechanism=[entry | {"n_updates": n} for n in (250, 2000)] * (cell.variant in losses),
            loss=[losses.get(cell.variant, 0.0)] * 200,
            gradient_norm=[1.0] * 200,
        )
        for cell in cells
    ]
    page = ablation_page(ABLATION, Outcomes(records))
    table = [row for row in rows(page.text) if row[2:3] == ["1 of 10"]]
    assert [row[0] for row in table] == ["`dt`", "`q-attention`", "`q-feedforward`", "`qdt`", "`wide-dt`"]
    assert table[0][-1] == "2.000 → 2.000"
    assert ["`qdt` − `wide-dt`", "1", "-10.00", "+0.00"] in rows(page.text)  # thousandths
    assert ["synergy", "1", "+10.00", "+0.00"] in rows(page.text)
    assert {"spectrum", "traces"} <= set(page.figures)
    assert "similarity" not in page.figures, "nothing was measured"


@pytest.mark.parametrize("name", sorted(set(GRIDS) - {"precision", "mechanism"}))
def test_every_panel_can_be_drawn_and_shows_each_seed(name):
    cells = [cell for grid in (name, *REPORTS[name].beside) for cell in GRIDS[grid]]
    page = REPORTS[name].page(GRIDS[name], outcomes_of(cells, lambda cell: float(cell.seed)))
    panels = [panel for panels in page.figures.values() for panel in panels]
    assert panels
    for panel in panels:
        figure, axes = plt.subplots()
        panel.draw(axes)
        assert axes.lines
        assert axes.get_xlabel()
        assert axes.get_ylabel() or axes.get_yticklabels()
        plt.close(figure)


def test_precision_and_context_are_compared_by_the_seed():
    """Seed s: 100 + 10 s in float32, 5 more in bfloat16, and with the sliding window 1 less than that."""

    def record(cell):
        mean = 100.0 + 10 * cell.seed + 5 * (settings_of(cell)["precision"] == "bf16-mixed")
        found = record_of(cell, mean)
        window = {"n_updates": 600, "target_return": BEST, "sliding_window": True, "returns": [mean - 1]}
        found["evaluations"] += [window] * cell.sliding_window
        return found

    records = [record(cell) for cell in PRECISION]
    text = precision_page(PRECISION, Outcomes(records)).text
    assert rows(text)[2] == [
        "`dt`",
        "200",
        "5 of 5",
        "120 (108 to 132)",
        "125 (113 to 137)",
        "+5.0 (+5.0 to +5.0)",
    ]
    assert rows(text)[-1][1:3] + rows(text)[-1][-1:] == ["600", "5 of 5", "+1.0 (+1.0 to +1.0)"]
    missing = precision_page(PRECISION, Outcomes(records[:-1])).text
    assert "**1 of 20 runs are missing.**" in missing
    assert rows(missing)[-1][2] == "4 of 5"
