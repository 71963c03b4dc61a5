"""Prompts become token ids in child processes that can be killed: templates and tokenizers are the
provider's, so they get a limit of time and memory, and the web process never runs them itself.
"""

from inference.gateway.prompting.budgets import PromptBudgetSpent
from inference.gateway.prompting.prompter import Prompter, PromptTooLong, TokenizerFacts, TokenizerMissing

__all__ = ["PromptBudgetSpent", "PromptTooLong", "Prompter", "TokenizerFacts", "TokenizerMissing"]
