#!/bin/sh
echo "$1 from $(uname -s) $(uname -r)"
