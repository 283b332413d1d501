"""The survey of a tree as tables and as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.numerals import counted

if TYPE_CHECKING:
    from deconvnet_cli.datasets.survey import Survey


def survey_tables(survey: Survey) -> None:
    """Print the classes, the sizes and lists, and what is wrong, on standard output."""
    total = max(1, survey.total_pixels)
    rows = [
        [
            name,
            str(count.photos),
            str(count.objects) if label else "",
            str(count.pixels),
            f"{count.pixels / total:.1%}",
        ]
        for label, (name, count) in enumerate(zip(survey.classes, survey.counts, strict=True))
    ]
    console.table(["class", "photos", "objects", "pixels", "share"], rows, numbers=True)
    facts = [["photos", str(len(survey.sizes))]]
    if survey.sizes:
        longest = sorted(max(size) for size in survey.sizes)
        middle = longest[len(longest) // 2]
        facts.append(["longer side", f"{longest[0]} to {longest[-1]} pixels, median {middle}"])
    facts += [[f"{split}.txt", counted(count, "name")] for split, count in survey.lists.items()]
    facts += [["note", remark] for remark in survey.remarks]
    facts += [["PROBLEM", problem] for problem in survey.problems]
    console.table(["", ""], facts)


def survey_line(survey: Survey) -> dict[str, Any]:
    """Return the survey as plain values for one JSON line."""
    return {
        "classes": {
            name: {"photos": count.photos, "objects": count.objects, "pixels": count.pixels}
            for name, count in zip(survey.classes, survey.counts, strict=True)
        },
        "photos": len(survey.sizes),
        "lists": survey.lists,
        "problems": survey.problems,
        "remarks": survey.remarks,
    }
