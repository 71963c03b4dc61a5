"""What a version's files are, and what is wrong with them, without loading anything of a stranger's."""

from marketplace.validation.examining import examine
from marketplace.validation.report import Facts, Finding, LocalFile, Report, local_file

__all__ = ["Facts", "Finding", "LocalFile", "Report", "examine", "local_file"]
