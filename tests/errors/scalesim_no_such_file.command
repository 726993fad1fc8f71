2 simulate systolic_array nowhere.csv
