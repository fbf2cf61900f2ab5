// Renders the conversations of cases.json with Go's own text/template, and writes the texts into it: go run main.go
//
// What Ollama does around it (template/template.go and server/routes.go there): the Modelfile's SYSTEM comes first unless the
// conversation begins with a system message; all system messages, joined, are .System; neighbours of one role become one message.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type testCase struct {
	Template string    `json:"template"`
	System   string    `json:"system"`
	Messages []message `json:"messages"`
	Text     string    `json:"text"`
	Refused  bool      `json:"refused"`
}

func render(one testCase) (string, error) {
	parsed, err := template.New("").Option("missingkey=zero").Parse(one.Template)
	if err != nil {
		return "", err
	}
	said := one.Messages
	if one.System != "" && said[0].Role != "system" {
		said = append([]message{{"system", one.System}}, said...)
	}
	var system []string
	var turns []*message
	for _, each := range said {
		if each.Role == "system" {
			system = append(system, each.Content)
		}
		if last := len(turns) - 1; last >= 0 && turns[last].Role == each.Role {
			turns[last].Content += "\n\n" + each.Content
		} else {
			turns = append(turns, &message{each.Role, each.Content})
		}
	}
	var out strings.Builder
	err = parsed.Execute(&out, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": turns})
	return out.String(), err
}

func main() {
	var cases []testCase
	raw, err := os.ReadFile("cases.json")
	if err == nil {
		err = json.Unmarshal(raw, &cases)
	}
	if err != nil {
		panic(err)
	}
	for at := range cases {
		cases[at].Text, err = render(cases[at])
		cases[at].Refused = err != nil
		if err != nil {
			cases[at].Text = ""
		}
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err = encoder.Encode(cases); err == nil {
		err = os.WriteFile("cases.json", []byte(out.String()), 0o644)
	}
	if err != nil {
		panic(err)
	}
}
