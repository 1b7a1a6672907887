// Says before the first paint that scripts run, so that what needs them can show and what replaces them can hide.
document.documentElement.classList.add("js");
