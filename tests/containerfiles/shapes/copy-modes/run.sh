#!/bin/app
