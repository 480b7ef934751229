"""Reports for machines and other people's pages: JSON, JUnit, SARIF, Markdown.

Each is the same bytes for the same answers: no time, no random number, no path but those given.
"""
