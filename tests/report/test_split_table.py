"""The differences over splits of one data set, on the terminal, on the page and in the verdict."""

from synthetic_results import CONTROL, make_results

from molbt.evaluation.split_differences import split_differences
from molbt.report.comparison import compare
from molbt.report.split_table import split_section, split_table
from molbt.report.verdict import verdict

ENCODER = ("counts+embedding", "tanimoto_svm")


def one_data_set(repeats: int):
    """One task; the encoder is .2 better in each split, give or take a thousandth."""
    results = make_results({CONTROL: (0.0, 0.0), ENCODER: (-0.2, 0.0)}, n_tasks=1, repeats=repeats)
    wobble = 0.001 * results["repeat"].where(results["features"] == ENCODER[0], 0)
    return results.assign(value=results["value"] + wobble)


def test_five_splits_are_told_with_their_interval():
    results = one_data_set(5)
    (row,) = split_differences(results, CONTROL).to_dict("records")
    told = split_table(results, CONTROL, "rmse", "pKi")
    assert "over 5 random splits of this one data set" in told
    assert "not about other data" in told
    assert f"{row['mean_difference']:+.4f}".replace("-", "−")[:6] in told
    assert "5/0/5" in told
    page = split_section(results, CONTROL, "rmse", "pKi")
    assert "RMSE (pKi)" in page
    assert "counts+embedding" in page


def test_the_verdict_says_what_the_splits_say_and_claims_nothing_over_tasks():
    (comparison,) = compare(one_data_set(5), CONTROL, "rmse")
    said = verdict(comparison)
    assert "no interval over tasks exists" in said.headline
    assert "Over 5 random splits of this data set" in said.detail
    assert "(better)" in said.detail
    assert "Over" not in verdict(compare(one_data_set(4), CONTROL, "rmse")[0]).detail


def test_with_few_splits_or_many_tasks_nothing_is_added():
    assert split_table(one_data_set(4), CONTROL, "rmse") == ""
    assert split_section(make_results({CONTROL: (0.0, 0.0), ENCODER: (-0.2, 0.1)}, repeats=5), CONTROL, "rmse") == ""
