package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// guard turns away what a browser sends here for a page that has no business with us, and answers the questions that
// browsers ask before they let a page send something (CORS).
func (s *Server) guard(c *call) (done bool, err error) {
	origin := c.r.Header.Get("Origin")
	allowed := s.allows(origin)
	if s.cfg.Keys == nil {
		switch {
		case !s.isOurs(c.r.Host):
			return false, refuse(http.StatusForbidden, "host_not_allowed", "",
				"The host %q is not one of this gateway's: ask by its address or by localhost, or start it with --host", hostName(c.r.Host))
		case origin != "" && !allowed && !sameHost(origin, c.r.Host):
			return false, refuse(http.StatusForbidden, "origin_not_allowed", "", "Pages from elsewhere may not ask: start the gateway with --cors")
		}
	}
	if !allowed {
		return false, nil
	}
	h := c.w.Header()
	if slices.Contains(s.cfg.Origins, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
	}
	h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	if c.r.Method != http.MethodOptions || c.r.Header.Get("Access-Control-Request-Method") == "" {
		return false, nil
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	if wanted := c.r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		h.Set("Access-Control-Allow-Headers", wanted) // the key is what protects us, not the names of headers
	}
	h.Set("Access-Control-Max-Age", "600")
	c.status = http.StatusNoContent
	c.w.WriteHeader(c.status)
	return true, nil
}

// allows says whether pages of an origin may ask.
func (s *Server) allows(origin string) bool {
	return origin != "" && (slices.Contains(s.cfg.Origins, "*") || slices.Contains(s.cfg.Origins, origin))
}

// isOurs says whether a Host header names this machine: nobody can make a name of their own out of an address.
func (s *Server) isOurs(host string) bool {
	name := hostName(host)
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	return slices.ContainsFunc(s.cfg.Hosts, func(h string) bool { return strings.EqualFold(hostName(h), name) })
}

// hostName is a host without its port.
func hostName(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), ".")
}

// sameHost says whether an origin is that of our own pages.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// IsOrigin says whether a text is what a browser may send as an origin, or "*" for all of them.
func IsOrigin(text string) bool {
	u, err := url.Parse(text)
	return text == "*" || err == nil && u.Host != "" && u.Scheme+"://"+u.Host == text
}
