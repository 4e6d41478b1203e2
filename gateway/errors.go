package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// apiError is an error in OpenAI's form.
type apiError struct {
	status int
	retry  time.Duration // Retry-After; 0: none
	allow  string        // methods that are allowed instead

	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *apiError) Error() string { return e.Message }

// reason is the error's code, or its type where it has none.
func (e *apiError) reason() string {
	if e.Code != nil {
		return *e.Code
	}
	return e.Type
}

// The types of errors, as OpenAI calls them.
const (
	typeRequest = "invalid_request_error"
	typeLimit   = "rate_limit_error"
	typeServer  = "server_error"
)

func refuse(status int, code, param, format string, args ...any) *apiError {
	e := &apiError{status: status, Message: fmt.Sprintf(format, args...), Type: typeRequest}
	switch {
	case status == http.StatusTooManyRequests:
		e.Type = typeLimit
	case status >= 500:
		e.Type = typeServer
	}
	if code != "" {
		e.Code = &code
	}
	if param != "" {
		e.Param = &param
	}
	return e
}

// bad refuses the value of a parameter.
func bad(param, format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "invalid_value", param, format, args...)
}

// tooMany says that a key's limit is reached.
func tooMany(retry time.Duration, format string, args ...any) *apiError {
	e := refuse(http.StatusTooManyRequests, "rate_limit_exceeded", "", format, args...)
	e.retry = retry
	return e
}

// unavailable says that there is nobody to answer now.
func unavailable(format string, args ...any) *apiError {
	e := refuse(http.StatusServiceUnavailable, "service_unavailable", "", format, args...)
	e.retry = retryAfter
	return e
}

func noModel(name string) *apiError {
	return refuse(http.StatusNotFound, "model_not_found", "model", "The model `%s` does not exist: GET /v1/models lists those that do", protocol.CleanText(name, 100))
}

func tooLarge() *apiError {
	return refuse(http.StatusRequestEntityTooLarge, "request_too_large", "", "The body is larger than %d bytes", maxBody)
}

// waitedError ends an answer that has not begun because peers are missing, or have no room.
type waitedError struct{ client.Waiting }

func (e *waitedError) Error() string {
	if e.Busy {
		return (&client.BusyError{Layers: e.Missing}).Error()
	}
	return (&routing.NoChainError{Missing: e.Missing}).Error()
}

// asAPI makes any error of an answer one of the API's.
func asAPI(ctx context.Context, err error, promptParam string) *apiError {
	var api *apiError
	var long *client.PromptTooLongError
	var waited *waitedError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &long):
		return tooLong(long, promptParam)
	case errors.As(err, &waited) || errors.As(context.Cause(ctx), &waited):
		return unavailable("The swarm can't answer now: %v", waited)
	case errors.Is(err, context.Canceled):
		return unavailable("The gateway is being stopped")
	}
	return unavailable("The swarm can't answer now: %v", err)
}

func tooLong(e *client.PromptTooLongError, param string) *apiError {
	return refuse(http.StatusBadRequest, "context_length_exceeded", param,
		"This model's maximum context length is %d tokens, and your prompt has %d: shorten it, so that an answer fits, too", e.Context, e.Tokens)
}

// refuse answers with an error. The client may still be sending: it reads the answer if what it sends is taken from it.
func (c *call) refuse(e *apiError) {
	h := c.w.Header()
	if e.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retry.Seconds()))))
	}
	if e.allow != "" {
		h.Set("Allow", e.allow)
	}
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	var form any = struct {
		Error *apiError `json:"error"`
	}{e}
	if c.route != nil && c.route.ollama {
		form = map[string]string{"error": e.Message}
	}
	data, err := json.Marshal(form)
	if err != nil {
		panic("gateway: " + err.Error()) // strings alone
	}
	_ = c.control.SetReadDeadline(time.Now().Add(drainTimeout))
	unread := !c.read && (c.r.ContentLength < 0 || c.r.ContentLength > serverDrains)
	if unread {
		_ = c.control.EnableFullDuplex() // HTTP/1 alone knows it, and needs it
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.status = e.status
	c.w.WriteHeader(e.status)
	if _, err := c.w.Write(data); err != nil || !unread || c.r.Header.Get("Expect") != "" {
		return
	}
	if c.control.Flush() == nil {
		_, _ = io.CopyN(io.Discard, c.r.Body, drainBytes) // whatever ends it, the connection is closed
	}
}
