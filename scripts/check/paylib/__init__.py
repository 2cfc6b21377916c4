"""What the checks of payments share: a provider with a ledger, and shops that pay through it."""
