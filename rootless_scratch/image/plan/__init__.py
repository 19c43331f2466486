"""From what the user asked for to a Plan: files looked at, everything decided, nothing written."""
