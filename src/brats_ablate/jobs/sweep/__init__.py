"""Jobs about a sweep as a whole: plan and status; and the check of its data."""
