package site

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ScriptHeader is what the page's script sends with each change. A form of another site cannot set it, and a script of another site
// may not.
const ScriptHeader = "X-Mandrill-Page"

// policy allows the page its own files and requests, and nothing else; markup from texts is never allowed.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Guard refuses requests that do not come from the page, and keeps browsers from what the page does not need. Hosts are allowed in URLs
// of the page, apart from localhost and loopback addresses.
func Guard(next http.Handler, hosts []string, logger *slog.Logger) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY",
		} {
			w.Header().Set(name, value)
		}
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case !knows(hosts, r.Host):
			Refuse(w, http.StatusMisdirectedRequest, "the page is not served for this host: open it at localhost, or add the host to --page-hosts")
		case strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none":
			Refuse(w, http.StatusForbidden, "another site asked for this")
		case changes && (r.Header.Get(ScriptHeader) == "" || sameOrigin.Check(r) != nil):
			Refuse(w, http.StatusForbidden, "only the page itself may change something")
		case changes:
			logger.Info("The page was used for a change", "path", r.URL.Path)
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knows reports whether the page may be reached by a host, with or without a port: a name that an attacker's DNS leads to this address
// is not among them.
func knows(hosts []string, hostPort string) bool {
	host := hostPort
	if name, _, err := net.SplitHostPort(hostPort); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if address, err := netip.ParseAddr(host); err == nil && address.IsLoopback() {
		return true
	}
	return host == "localhost" || slices.Contains(hosts, host)
}

// Refuse answers with an error, as the page shows it.
func Refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error": "` + strings.ReplaceAll(reason, `"`, `'`) + "\"}\n")) // the client may have gone
}
