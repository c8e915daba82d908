"""Results of a cube that grows: what changed, and how they are brought up to date."""
