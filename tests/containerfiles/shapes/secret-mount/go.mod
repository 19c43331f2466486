module example.org/private
