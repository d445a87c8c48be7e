"""Name what can go wrong in training; the command line shows the message alone.

TrainingError
├── InvalidRecipe     a field of the recipe, or a recipe as a whole, cannot be used
├── InvalidOption     an option has a value that cannot be used
├── InvalidDataset    a list, an image or a mask is missing or not what the reader expects
├── UnreadableRun     a file of a run's folder is missing or damaged
├── LeakingDataset    a validation image is among the training images
├── NonFiniteLoss     the loss or its gradient has become NaN or infinite
├── FolderNotEmpty    the run folder holds another run, or something else
├── FolderInUse       another process is training in the run folder
├── WorkerLost        a process that prepares images has ended
├── DamagedState      a run cannot be resumed from what it has left
├── InvalidImport     somebody else's checkpoint does not fit any network of the zoo
└── InvalidExport     a checkpoint cannot be written in another format
"""

from __future__ import annotations


class TrainingError(ValueError):
    """Training or evaluation cannot go on; the message is one line that says what and where."""


class InvalidRecipe(TrainingError):
    """A field of a recipe has a value that cannot be used."""


class InvalidOption(TrainingError):
    """An option has a value that cannot be used."""


class InvalidDataset(TrainingError):
    """A dataset's list, image or mask is missing or is not what the reader expects."""


class UnreadableRun(TrainingError):
    """A file of a run's folder is missing or damaged."""


class LeakingDataset(TrainingError):
    """A validation image is among the training images."""


class NonFiniteLoss(TrainingError):
    """The loss or its gradient has become NaN or infinite."""


class FolderNotEmpty(TrainingError):
    """The run folder holds another run, or something else."""


class FolderInUse(TrainingError):
    """Another process is training in the run folder."""


class WorkerLost(TrainingError):
    """A process that prepares images has ended."""


class DamagedState(TrainingError):
    """A run cannot be resumed from what it has left."""


class InvalidImport(TrainingError):
    """Say what of somebody else's checkpoint does not fit, and what would."""


class InvalidExport(TrainingError):
    """Say why a checkpoint cannot be written in another format."""
