"use strict";
// The walk on paper: inputs, weights and target are given, every number that follows from them is left blank; and the answers on a
// page of their own.

function buildWorksheet(place, walk) {
  const { steps, columns, numbers } = walk, { session } = numbers, blank = "________";
  const head = (title) => [make("h2", {}, title), make("p", {}, say("sheet.about", {
    sizes: session.net.sizes.join("-"), activation: session.settings.activation, loss: say(`name.${session.settings.loss}`), optimizer: say(`name.${session.settings.optimizer}`), lr: show(session.settings.lr, 4), n: numbers.row + 1,
  }))];
  const list = (blanks) => steps.map((step, n) => {
    const part = make("section", { class: "sheet-step" });
    part.append(make("h3", {}, `${n + 1}. ${step.title}`));
    if (!blanks && step.text) part.append(make("p", {}, step.text));
    if (step.ask && blanks) part.append(make("p", {}, `${step.ask.question} ${step.ask.options.join(" / ")}?`));
    if (step.formula) { const formula = make("p", { class: "formula" }); formula.innerHTML = step.formula.math; part.append(formula); }
    for (const focus of step.foci) {
      const unit = make("div", { class: "sheet-unit" });
      if (step.foci.length > 1) unit.append(make("b", {}, unitName(columns, focus.column, focus.unit, session.data)));
      unit.append(...focus.lines.map((line) => lineOf(line, blanks ? blank : null)));
      part.append(unit);
    }
    return part;
  });
  const answers = make("div", { class: "sheet-answers" });
  answers.append(...head(say("sheet.answers")), ...list(false));
  const questions = make("div", { class: "sheet-questions" });
  questions.append(...head(say("sheet.title")), ...list(true));
  place.replaceChildren(questions, answers);
}
