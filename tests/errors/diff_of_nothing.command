2 diff toy wid
