"""OpenAI's response shapes, and the headers that say what a call cost and what is left."""
