2 diff toy runs/no_report.json
