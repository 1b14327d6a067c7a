package ui

import (
	"crypto/subtle"
	"net"
	"net/http"
)

// keyParameter is the parameter of the address that has the secret.
const keyParameter = "key"

// withSecret lets only those in who have the secret: other users of this machine reach its ports, too. The address that is printed has
// it, and the browser then has it as a cookie, so that it leaves the address bar. Cookies are the same for all ports of a host, so
// the name has the port.
func withSecret(next http.Handler, secret string) http.Handler {
	same := func(text string) bool { return subtle.ConstantTimeCompare([]byte(text), []byte(secret)) == 1 }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "mandrill-page"
		if _, port, err := net.SplitHostPort(r.Host); err == nil {
			name += "-" + port
		}
		if r.Method == http.MethodGet && r.URL.Path == "/" && same(r.URL.Query().Get(keyParameter)) {
			http.SetCookie(w, &http.Cookie{Name: name, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // http, on loopback
			w.Header().Set("Referrer-Policy", "no-referrer")
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if cookie, err := r.Cookie(name); err != nil || !same(cookie.Value) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte("Open the address that kubectl mandrill ui has printed: it ends with a key.\n")) // the client may have gone
			return
		}
		next.ServeHTTP(w, r)
	})
}
