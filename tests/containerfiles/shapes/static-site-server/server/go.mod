module example.org/httpd
