package debian

import "testing"

func TestSourceOf(t *testing.T) {
	got, err := sourceOf("http://a/debian-security bookworm-security\nhttp://other/apt stable\nhttp://a/debian bookworm\n")
	if want := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a/debian bookworm main\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "http://a/debian trixie\n", "bookworm\n"} {
		if got, err := sourceOf(bad); err == nil {
			t.Errorf("sourceOf(%q) = %q, want an error", bad, got)
		}
	}
}
