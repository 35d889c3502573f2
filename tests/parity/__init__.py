"""What the systems that Holdfast replaces do, done by Holdfast."""
