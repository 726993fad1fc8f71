2 explain toy
