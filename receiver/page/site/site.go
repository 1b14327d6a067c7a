// Package site is what the page of a receiver and the page of all receivers have in common: the files, what their script asks for, and
// the guard in front of them.
//
// The page has no login of its own. It is for a loopback address, or for a proxy that asks who comes. The guard refuses what another site
// could make a browser do: requests with an unknown Host (DNS rebinding), and changes without a header that only the page's own script sets.
package site

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed static
var embedded embed.FS

// Files serves the files of the page.
func Files() http.Handler {
	files, err := fs.Sub(embedded, "static")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return http.FileServerFS(files)
}
