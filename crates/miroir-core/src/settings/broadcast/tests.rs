mod line;
mod model;
mod steps;
