"""The workbook: chapters of exercises, judged line by line, on a page of this machine's own."""
