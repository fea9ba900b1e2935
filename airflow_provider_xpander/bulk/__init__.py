"""Rows in, one answer per row out: the parts of :class:`XpanderEnrichOperator`."""
