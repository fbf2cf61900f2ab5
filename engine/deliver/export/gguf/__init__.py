"""GGUF, the file format of llama.cpp: conversion with llama.cpp's own converter, number formats, running, and Modelfiles."""
