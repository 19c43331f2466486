// Package internal is small.
package internal
