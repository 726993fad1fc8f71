2 simulate systolic_array scalesim_layers.csv
