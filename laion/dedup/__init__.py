"""From candidates to candidates in which no pair of URL and text comes twice."""
