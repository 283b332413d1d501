"""Shards: all of them together are one run, to the byte, however many there are."""

from __future__ import annotations

import json

import pytest
from helpers.small_batch import info, outputs

from deconvnet_cli.errors import UsageError
from deconvnet_cli.runtime.shards import parse_shard, shard_by_name, shard_of


def test_shards_are_counted_from_one():
    assert parse_shard("1/1") == (1, 1)
    assert parse_shard("3/8") == (3, 8)


@pytest.mark.parametrize(
    "text", ["", "1", "/", "1/", "/2", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1.0/2", "²/3"]
)
def test_what_is_no_shard(text):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


def slurm(number: int, first: int, count: int) -> dict[str, str]:
    """What SLURM tells a task of an array."""
    values = {"ID": number, "MIN": first, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize("environment, shard", [
    (slurm(0, 0, 4), (1, 4)),
    (slurm(4, 1, 4), (4, 4)),
    (slurm(12, 10, 3), (3, 3)),
    ({"RANK": "0", "WORLD_SIZE": "2"}, (1, 2)),
    ({"RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
    ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "7"}, (2, 2)),  # an array of one job
])  # fmt: skip
def test_the_shard_of_this_job(environment, shard):
    assert parse_shard("auto", environment) == shard


@pytest.mark.parametrize("environment, words", [
    ({}, "neither"),
    ({"SLURM_ARRAY_TASK_ID": "3"}, "neither"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2"),
    ({"RANK": "first", "WORLD_SIZE": "2"}, "no number"),
    # --array=0-30:10 has gaps: the four tasks 0, 10, 20 and 30
    (slurm(10, 0, 4), "gaps"),
])  # fmt: skip
def test_a_job_that_is_no_shard(environment, words):
    with pytest.raises(UsageError, match=words):
        parse_shard("auto", environment)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_each_item_is_in_one_shard(count):
    items = list(range(13))
    shards = [shard_of(items, (number, count)) for number in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shard_of(items, None) == items


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_names_stay_in_their_shards_when_others_come_and_go(count):
    names = [f"day {number % 9}/IMG_{number:05d}.png" for number in range(4000)] + ["\udcff.png"]
    for left in (names, names[7:], sorted([*names, "a.png", "day 3/new.png"])):
        shards = [shard_by_name(left, str, (number, count)) for number in range(1, count + 1)]
        assert sorted(name for shard in shards for name in shard) == sorted(left)
        if left is names:
            first = shards
            assert min(map(len, shards)) > 0.85 * len(names) / count
        for before, now in zip(first, shards, strict=True):
            assert set(now) & set(names) == set(before) & set(left)
    assert shard_by_name(names, str, None) == names


@pytest.mark.parametrize("count, workers, system", [(2, 2, "slurm"), (4, 1, "torchrun")])
def test_shards_give_the_bytes_of_one_run(
    deconvnet, voc, lively_weights, whole_run, tmp_path, monkeypatch, count, workers, system
):
    out = tmp_path / "out"
    options = ("--weights", lively_weights, "--proposals", 2, "--workers", workers, "--quiet")
    for number in range(1, count + 1):
        with monkeypatch.context() as patch:
            ranks = {"RANK": str(number - 1), "WORLD_SIZE": str(count)}
            job = slurm(number + 4, 5, count) if system == "slurm" else ranks
            for name, value in job.items():
                patch.setenv(name, value)
            shard = deconvnet("batch", voc / "JPEGImages", "-o", out, "--shard", "auto", *options)
        assert shard.exit_code == 0, shard.output
        said = [path.read_bytes().count(b"\n") for path in out.glob("manifest.*-of-*.jsonl")]
        assert len(said) == number and sum(said) == len(outputs(out))
    assert len(outputs(out)) == 4
    assert not (out / "manifest.jsonl").exists()
    merged = deconvnet("batch", "--merge", out)
    assert merged.exit_code == 0, merged.output
    assert f"4 photos done, 0 failed, of {count} shards" in merged.stderr
    assert sorted(path.name for path in out.glob("*.jsonl")) == ["manifest.jsonl"]
    assert outputs(out) == outputs(whole_run)
    assert info(out) == info(whole_run)
    again = deconvnet("batch", voc / "JPEGImages", "-o", out, *options, "--json")
    assert {json.loads(line)["status"] for line in again.stdout.splitlines()} == {"skipped"}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, voc, lively_weights):
    """The same photos in one run."""
    from helpers.command_line import run_cli

    out = tmp_path_factory.mktemp("whole") / "out"
    options = ("--weights", lively_weights, "--proposals", 2, "--workers", 1, "--quiet")
    result = run_cli("batch", voc / "JPEGImages", "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert len({data for data in outputs(out).values()}) == 4
    return out
