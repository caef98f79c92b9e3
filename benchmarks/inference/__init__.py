"""Our infer stage, the bare session under it, and servers that one might use instead."""
