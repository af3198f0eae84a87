"""The commands as functions, for notebooks and programs: `from origcli import score, invert, synth`.

Each does what its command does, with the same settings and the same files, and returns what it found. Options
of a command are keywords; settings that have none are set by `settings`, a tree like that of a configuration
file: `score("photo.jpg", samples=30, settings={"invert": {"batch_size": 4}})`.
"""

from origcli.interface.measuring import Scorer, calibrate, compare, score
from origcli.interface.parts import detect, draw, invert
from origcli.interface.setup import doctor, fetch, import_model
from origcli.interface.shapes import synth, train_detector, train_transformer, train_unet, train_vae
from origcli.interface.studies import fixed_location, generalize, popularity, rarity

__all__ = [
    "Scorer",
    "calibrate",
    "compare",
    "detect",
    "doctor",
    "draw",
    "fetch",
    "fixed_location",
    "generalize",
    "import_model",
    "invert",
    "popularity",
    "rarity",
    "score",
    "synth",
    "train_detector",
    "train_transformer",
    "train_unet",
    "train_vae",
]
