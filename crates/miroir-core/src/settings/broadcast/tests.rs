mod model;
mod steps;
