"""The model card, written from the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.pretrained.latents_used import LEAST
from benchmarks.pretrained.recipe import KEPT_ASIDE, Recipe
from terralatent.catalogs.simulation.climates.world import draw_world
from terralatent.catalogs.simulation.draws import Draws

__all__ = ["card"]

PLACES = {
    "flanders": "Flanders, August 2017 to November 2018, 10 bands of Sentinel-2, Sentinel-1 "
    "ascending",
    "tanzania": "Tanzania, September 2019 to September 2021, 6 bands of Sentinel-2 (20 m), "
    "Sentinel-1 ascending",
}

WAYS = {
    "radar": "Sentinel-2 and Sentinel-1",
    "radar_calibrated": "the same, calibrated",
    "alone": "Sentinel-2 alone",
    "all_sensors": "all sensors there are",
    "tuned": "all sensors, trained further in at most 240 steps",
}


def card(recipe: Recipe, scores: Mapping[str, Any]) -> str:
    """The card of the model of a recipe, Markdown."""
    return "\n".join(_lines(recipe, scores)) + "\n"


def _lines(recipe: Recipe, scores: Mapping[str, Any]) -> Iterator[str]:
    worlds = recipe.worlds()
    climates = list(dict.fromkeys(world.climate for world in worlds))
    drawn = (draw_world(own.climate, recipe.size, Draws(own.seed)) for own in worlds)
    southern = sum(world.south for world in drawn)
    yield f"# {recipe.name}, version {recipe.version}"
    yield ""
    yield (
        "A Gaussian process variational autoencoder of pixel series of Sentinel-2 (L2A, 10 bands), "
        "Sentinel-1 (RTC, VV and VH, each direction a sensor of its own) and Landsat 8 and 9 "
        "(Collection 2 level 2, 6 bands). It is used where no model is named."
    )
    yield ""
    yield f"Model hash `{scores['model']}`, recipe `{scores['recipe']}`, seed {scores['seed']}."
    yield ""
    yield "## What it learned from"
    yield ""
    yield (
        f"{len(worlds)} simulated worlds of {recipe.size} x {recipe.size} pixels and "
        f"{recipe.years} years (climates {', '.join(climates)}; {len(recipe.seeds)} of each, "
        f"{southern or 'none'} of them south of the equator), in "
        f"{1 - recipe.real_share:.0%} of the batches, and two real places of 640 m by 640 m in the "
        "others: Flanders and Tanzania, patches of the WorldCereal classification repository (MIT; "
        "contain modified Copernicus Sentinel data 2017 to 2021; Landsat 8 by courtesy of the U.S. "
        "Geological Survey). Labels were not used. The weights have the licence of the package, "
        "MIT."
    )
    yield ""
    yield f"Kept aside: worlds of {', '.join(KEPT_ASIDE)}, and every real pixel of Canada."
    yield ""
    yield from _places(recipe, scores)
    if "places" in scores:
        yield from _more(scores)
    yield "## Limits"
    yield ""
    yield from _limits()


def _places(recipe: Recipe, scores: Mapping[str, Any]) -> Iterator[str]:
    """Real places, by siblings that did not see them."""
    reported = "places" in scores
    yield "## Places that it never saw"
    yield ""
    yield (
        "Each real place was predicted by a model of the same recipe that did not see it. Hidden "
        "are whole Sentinel-2 acquisitions, alone and in windows of 15 to 90 days; the error is a "
        "share of that of a Gaussian process for each band, its settings chosen on the truth "
        "itself. Clean truth leaves out what haze the mask missed. Two places are two numbers: "
        "nothing is claimed of a third."
    )
    yield ""
    if not reported:
        yield (
            "These are the three development rotations, by which settings and seeds were chosen, "
            "with partly clear acquisitions as truth; no other rotation has been scored yet."
        )
        yield ""
    for name, title in PLACES.items():
        yield f"{title} (model `{scores['siblings'][name][:12]}`):"
        yield ""
        yield "| | all truth | lowest, highest | clean truth | 90 % intervals | each rotation |"
        yield "|---|---|---|---|---|---|"
        figures = scores["places"][name] if reported else {"radar": scores["development"][name]}
        for way, words in WAYS.items():
            if way in figures:
                yield _row(words, figures[way])
        yield ""
    yield "## Climates that it never saw"
    yield ""
    chosen = "; these also served to choose between seeds" if len(recipe.trained) > 1 else ""
    yield (
        f"One simulated world each, predicted by the model itself{chosen}. Land cover: balanced "
        "accuracy of a random forest on ten labels a class, on parcels without labels, by the "
        "months' latents."
    )
    yield ""
    yield "| | all truth | clean truth | 90 % intervals hold | land cover |"
    yield "|---|---|---|---|---|"
    for name in KEPT_ASIDE:
        figures = scores["development"][name]
        yield (
            f"| {name} | {figures['all']:.3f} | {figures['clean']:.3f} | {figures['covers']:.1%} | "
            f"{figures['few_labels']:.3f} |"
        )
    yield ""


def _more(scores: Mapping[str, Any]) -> Iterator[str]:
    """What is measured together with the reported rotations."""
    yield "Land cover by a model that was trained there alone: " + ", ".join(
        f"{name} {labels['trained_there']:.3f}" for name, labels in scores["few_labels"].items()
    )
    yield ""
    yield "## By the number of clear observations"
    yield ""
    yield "Over both real places and the climates kept aside, as it is:"
    yield ""
    yield "| clear observations of a pixel, a year | RMSE, reflectance | 90 % intervals hold |"
    yield "|---|---|---|"
    for row in scores["by_count"]:
        name = f"from {row['from']}" if row["below"] is None else f"{row['from']} to {row['below']}"
        yield f"| {name} | {row['rmse']:.4f} | {row['covers']:.1%} |"
    yield ""
    yield "## Latents"
    yield ""
    used = sum(lost >= LEAST for lost in scores["latents"])
    yield (
        f"{used} of {len(scores['latents'])} latents are used: without each of them, replaced by "
        "its prior, the log density of held-out acquisitions of the climates kept aside falls by "
        f"at least {LEAST} nats a value ({_listed(scores['latents'])})."
    )
    yield ""


def _row(words: str, figures: Mapping[str, Any]) -> str:
    shares, covers = figures["each_all"], figures["each_covers"]
    return (
        f"| {words} | {figures['all']:.3f} | {min(shares):.3f}, {max(shares):.3f} | "
        f"{figures['clean']:.3f} | {figures['covers']:.1%} | "
        f"{', '.join(f'{share:.1%}' for share in covers)} |"
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _limits() -> Iterator[str]:
    yield from (
        "- Real ground was two places of 41 hectares. Not tested on any other: no real snow, rice, "
        "wetland, forest of the tropics, city or high mountain.",
        "- The simulated climates temperate and savanna-two-rains were set beside these two "
        "places; their statistics are no secret to models that saw no pixel of them.",
        "- Snow is missed: networks that learned to doubt bright observations doubt it too, see "
        "steppe above.",
        "- Simulated worlds end at 62 degrees north; nothing is known of polar light.",
        "- Reflectance is that of Sen2Cor and of Landsat's surface product, backscatter is terrain "
        "corrected gamma or sigma nought as in the scenes that it saw. Level 1 is another thing.",
        "- Intervals of a new observation at a new place hold less or more than they say; "
        "`terralatent calibrate` mends that by what the place itself shows.",
        "- Latents are no land cover. What they mean at a place is for labels there to say.",
    )
