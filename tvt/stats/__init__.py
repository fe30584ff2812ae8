"""Statistics that every part shares: noise between runs, ranks, intervals, corrections. numpy and scipy only."""
