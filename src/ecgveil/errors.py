"""The one exception tree. Every message carries the value found and the remedy."""


class EcgveilError(Exception):
    """Base of every error ecgveil raises on purpose; the command line prints it and exits with 2."""


class RecordError(EcgveilError):
    """A record, or a folder of records, cannot be used as it is."""


class ConfigError(EcgveilError):
    """A recipe, setting or argument is wrong."""


class RunError(EcgveilError):
    """A run or release folder is missing, damaged, occupied, or made with other settings."""


class Stopped(RunError):
    """Asked to stop, it stopped; what was done is saved, and the same command goes on."""


class EvaluationError(EcgveilError):
    """An evaluation cannot be made on the sets given."""
