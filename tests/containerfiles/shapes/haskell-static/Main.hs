main = putStrLn "Hello World"
