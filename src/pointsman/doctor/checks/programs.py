"""T5: which programs trust our root.  Asked with `--programs` only, since each of them is started for it."""

from __future__ import annotations

from pointsman.authority.root_store import key_path, load_root
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.errors import PointsmanError
from pointsman.system.key_protection import key_protection
from pointsman.trust.report import Answer


def look(scene: Scene) -> Finding:
    if not key_path(scene.ca_dir).exists():
        return skipped("there is no root yet: the first run of the proxy makes it")
    try:
        answers = scene.ask_programs(load_root(scene.ca_dir, key_protection()))
    except PointsmanError as error:
        return skipped(f"the root's key cannot be used from here: {error.seen}")
    except OSError as error:
        return skipped(f"no server could be opened to ask them with: {error.strerror}")
    trusting = [one.name for one in answers if one.answer is Answer.TRUSTS]
    refusing = [one for one in answers if one.answer is Answer.REFUSES]
    if refusing:
        return warn(
            f"do not trust our root: {', '.join(one.name for one in refusing)}",
            "they refuse inspected connections; after the first refusal they are relayed",
            "; ".join(f"{one.name}: {one.fix}" for one in refusing),
        )
    return ok(f"trust our root: {', '.join(trusting)}" if trusting else "none of the known programs could be asked")


CHECK = Check("T5", "programs", Need.NOTHING, look)
