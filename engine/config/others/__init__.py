"""Going on with another tool: run.yaml as TRL, LLaMA-Factory, Axolotl and Unsloth take it, and their files as run.yaml."""
