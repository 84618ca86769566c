"""Recipes: what is trained, how, and in which order, as small YAML files; one a published system, and more robust ones.

A recipe is a table with `title`, `paper`, `variant`, `note`, `minutes` and the list `stages`. Each stage names a
network of the catalogue with its `config`, a `task` (see `tasks`) with its `options`, its `examples` (options of the
task's sampler), its `training` (fields of `TrainingConfig`), and its `share` of the budget. Later stages start from the
weights of the one before.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks import ARCHITECTURES

from .recipes import FOLDER, names
from .tasks import TASKS
from .training import TrainingConfig

VARIANTS = ("as published", "robust")
_BUDGET = ("minutes", "steps", "seed", "precision")


@dataclass(frozen=True)
class Stage:
    """One training of a recipe, see the module."""

    name: str
    network: str
    task: str = "slices"
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says, checked."""

    name: str
    title: str
    stages: tuple[Stage, ...]
    paper: str = ""
    variant: str = "robust"
    note: str = ""
    minutes: float = 60.0

    @property
    def network(self) -> str:
        """The architecture that comes out in the end."""
        return self.stages[-1].network

    def folder(self, run: Path, number: int) -> Path:
        """Where a stage keeps its files: a run of one stage its own folder, else one folder a stage."""
        return run if len(self.stages) == 1 else run / f"{number + 1}-{self.stages[number].name}"

    def config(self, number: int, **budget: Any) -> TrainingConfig:
        """How a stage is trained; budget: of the whole recipe (minutes or steps), seed, precision, and overrides."""
        stage = self.stages[number]
        share = stage.share / sum(one.share for one in self.stages)
        settings = {**stage.training, **{name: value for name, value in budget.items() if value is not None}}
        settings["minutes"] = settings.get("minutes", self.minutes) * share
        if settings.get("steps") is not None:
            settings["steps"] = max(round(settings["steps"] * share), 1)
        return TrainingConfig(**settings)


def bundled_recipes() -> list[Recipe]:
    """The recipes that come with the trainer, by name."""
    return [read_recipe(FOLDER / f"{name}.yaml") for name in names()]


def find_recipe(name: str) -> Recipe:
    """A bundled recipe by its name, or one's own by the path of its file. InputError where there is neither."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"There is no recipe file '{path}'; check the path.")
        return read_recipe(path)
    if not (FOLDER / f"{name}.yaml").is_file() or path.name != name:
        known = ", ".join(names())
        raise InputError(
            f"There is no recipe '{name}'; known are {known}. Your own is given by its file, NAME.yaml."
        )
    return read_recipe(FOLDER / f"{name}.yaml")


def read_recipe(path: Path) -> Recipe:
    """A recipe file. InputError says what in it cannot be."""
    import yaml

    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "it is nested too deeply"
        raise InputError(f"The recipe '{path}' is not YAML: {reason}.") from None
    where = f"The recipe '{path.stem}'"
    table = _checked(table, Recipe, where, without=("name",))
    if not isinstance(table["stages"], list) or not table["stages"]:
        raise InputError(f"{where} needs a list of stages.")
    stages = []
    for number, entries in enumerate(table["stages"], start=1):
        stage = Stage(**_checked(entries, Stage, f"{where}, stage {number},"))
        _check_stage(stage, f"{where}, stage '{stage.name}',")
        stages.append(stage)
    if len({stage.name for stage in stages}) != len(stages):
        raise InputError(f"{where} has two stages of one name.")
    recipe = Recipe(**{**table, "name": path.stem, "stages": tuple(stages)})
    if recipe.variant not in VARIANTS:
        raise InputError(f"{where} must have a variant of {', '.join(VARIANTS)}, not '{recipe.variant}'.")
    for number in range(len(stages)):
        recipe.config(number)  # checks the numbers
    return recipe


def _checked(table: Any, kind: type, where: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A table with the fields of a dataclass, each of its type; InputError for others and for missing ones."""
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table of entries by name.")
    known = {one.name: one for one in fields(kind) if one.name not in without}
    for name in table:
        if name not in known:
            raise InputError(f"{where} cannot have the entry '{name}'; known are {', '.join(known)}.")
    for name, one in known.items():
        needed = one.default is MISSING and one.default_factory is MISSING
        if needed and name not in table:
            raise InputError(f"{where} lacks the entry '{name}'.")
        wanted = {"str": str, "float": (int, float), "dict[str, Any]": dict}.get(one.type, object)
        if name in table and (not isinstance(table[name], wanted) or isinstance(table[name], bool)):
            raise InputError(f"{where} has '{name}' of the wrong kind.")
    return table


def _check_stage(stage: Stage, where: str) -> None:
    if not stage.name.replace("-", "").isalnum():
        raise InputError(
            f"{where} must have a name of letters, digits and '-', since its folder is called so."
        )
    if stage.network not in ARCHITECTURES or stage.network == "torchscript":
        raise InputError(f"{where} names no network that can be trained: '{stage.network}'.")
    if stage.task not in TASKS:
        raise InputError(f"{where} names no task: '{stage.task}'; known are {', '.join(TASKS)}.")
    if not 0 < stage.share < float("inf"):
        raise InputError(f"{where} must have a positive share of the budget.")
    known = {one.name for one in fields(TrainingConfig)} - set(_BUDGET)
    strange = sorted(set(stage.training) - known)
    if strange:
        raise InputError(
            f"{where} cannot set '{strange[0]}' in training; known are {', '.join(sorted(known))}."
        )
